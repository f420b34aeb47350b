"""A server over another kind of index: the same calls, answered through the contract of a retriever alone."""

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from holdfast.bundle.reader import Bundle
from holdfast.protos.holdfast.v1 import holdfast_pb2
from holdfast.server.settings import ConfigurationError
from tests import kinds
from tests.server.running import LoopThread, start
from tests.server.tiny import COLOURS, K, coloured, raw, write_bundle


@pytest.fixture(params=["sealed", "ivf"])
def bundle(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    kinds.register(monkeypatch)
    write_bundle(tmp_path / "bundle", kind=request.param)
    return tmp_path / "bundle"


def test_it_answers_as_the_classifier_does(bundle: Path, loop_thread: LoopThread) -> None:
    images = [coloured(label, 1, seed=50 + label)[0] for label in range(3)]
    expected = [Bundle.open(bundle).classifier().classify(image[None]) for image in images]
    with ExitStack() as stack:
        served = start(stack, loop_thread, bundle, probe_rate=0)
        request = holdfast_pb2.ClassifyRequest(images=[raw(image) for image in images], neighbours=K)
        answers = [result.answer for result in served.stub.Classify(request, timeout=30).results]
        info = served.stub.GetModelInfo(holdfast_pb2.GetModelInfoRequest(), timeout=30)
    assert [answer.label.name for answer in answers] == list(COLOURS)
    for answer, wanted in zip(answers, expected, strict=True):
        assert [neighbour.id for neighbour in answer.neighbours] == wanted.neighbours.ids[0].tolist()
    assert info.exemplars == 60


def test_nothing_is_certified_by_an_index_that_may_miss_neighbours(bundle: Path, loop_thread: LoopThread) -> None:
    with ExitStack() as stack:
        served = start(stack, loop_thread, bundle, probe_rate=0)
        request = holdfast_pb2.ClassifyRequest(images=[raw(coloured(0, 1, seed=50)[0])], certificates=True)
        (result,) = served.stub.Classify(request, timeout=30).results
    assert result.answer.HasField("certificates")
    assert not result.answer.certificates.HasField("poison_tolerance")
    assert not result.answer.certificates.HasField("feature_shift")


def test_probes_need_the_exemplars(bundle: Path, loop_thread: LoopThread) -> None:
    with ExitStack() as stack:
        if Bundle.open(bundle).index.kind == "sealed":
            with pytest.raises(ConfigurationError, match="--probe-rate 0"):
                start(stack, loop_thread, bundle, probe_rate=1)
        else:
            served = start(stack, loop_thread, bundle, probe_rate=1, probe_budget=0.9)
            request = holdfast_pb2.ClassifyRequest(images=[raw(coloured(0, 1, seed=9)[0])])
            served.stub.Classify(request, timeout=30)
            give_up = time.monotonic() + 30
            while served.metric("holdfast_probe_total") == 0:
                assert time.monotonic() < give_up
                time.sleep(0.01)
            assert served.metric("holdfast_probe_total", outcome="error") == 0
