"""Another model is published while calls come in: each call is answered by one model, and nothing shows a mixture."""

import gc
import json
import os
import signal
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import grpc
import numpy as np
import pytest

from holdfast.bundle.exemplars import Exemplars
from holdfast.bundle.reader import Bundle, read_manifest
from holdfast.bundle.writer import BundleWriter
from holdfast.errors import ContractMismatchError, HoldfastError
from holdfast.model.credibility import calibrate_retriever
from holdfast.model.preprocess import InputContract
from holdfast.model.retrieval.base import Bank
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.vote import VoteParameters
from holdfast.protos.holdfast.v1 import answer_pb2
from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.protos.holdfast.v1.holdfast_pb2_grpc import HoldfastServiceStub
from holdfast.server.core.holder import PublishError
from holdfast.server.core.snapshot import ModelSnapshot
from tests.server.running import LoopThread, Served, snapshot_of, start, wait_for, workers_of
from tests.server.tiny import Pixels, coloured, raw

NAMES = {"tiny": ("red", "green", "blue"), "other": ("navy", "grey", "crimson", "none", "lime")}
"""Classes of the two models. None has the place or the name that it has in the other."""
TRUTH = {"tiny": ("red", "green", "blue"), "other": ("crimson", "lime", "navy")}
"""What the three colours of `coloured` are to each."""
DISAGREEMENT = {"tiny": 0.05, "other": 0.25}
OTHER_K, OTHER_IDS = 7, 1000

WORKERS = [
    0,
    pytest.param(2, marks=pytest.mark.skipif(sys.platform != "linux", reason="workers share a port as Linux does it")),
]


def write_other(tiny: Path, directory: Path) -> Path:
    """The same encoder with other classes, other exemplars under other ids, and another vote."""
    manifest, encoder = read_manifest(tiny), Bundle.open_encoder(tiny).encoder
    labels = np.repeat([NAMES["other"].index(name) for name in TRUTH["other"]], 15)
    bank = encoder.embed(np.concatenate([coloured(label, 15, seed=700 + label) for label in range(3)]))
    ids = np.arange(OTHER_IDS, OTHER_IDS + len(labels))
    index, parameters = FlatIndex.build(Bank(bank, ids, labels)), VoteParameters(k=OTHER_K)
    held_out = np.concatenate([coloured(label, 9, seed=800 + label) for label in range(3)])
    truth = labels.reshape(3, 15)[:, :9].ravel()
    calibration = calibrate_retriever(index, parameters, encoder.embed(held_out), truth, classes=len(NAMES["other"]))
    exemplars = Exemplars(ids, labels, np.array([f"other/{i}" for i in ids]), np.zeros(len(ids), dtype=np.uint8))
    writer = BundleWriter.create(directory)
    for name in ("encoder.onnx", "gradient.onnx"):
        writer.add(name, lambda path, name=name: path.write_bytes((tiny / name).read_bytes()))
    writer.add("index.faiss", index.save)
    writer.add("exemplars.npz", exemplars.save)
    record = manifest.index.model_copy(update={"exemplars": len(ids), "disagreement_ratio": DISAGREEMENT["other"]})
    changes = {"name": "other", "class_names": NAMES["other"], "vote": parameters, "index": record, "calibration": calibration}
    writer.commit(manifest.model_copy(update=changes))
    return directory


@pytest.fixture(scope="module")
def other_bundle(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_other(tiny_bundle, tmp_path_factory.mktemp("other") / "other")


@pytest.fixture(params=WORKERS, ids=lambda workers: f"{workers} workers")
def server(request: pytest.FixtureRequest, tiny_bundle: Path, loop_thread: LoopThread) -> Iterator[Served]:
    with ExitStack() as stack:
        # Small batches, so that many calls are in several.
        yield start(stack, loop_thread, tiny_bundle, workers=request.param, max_batch=8, max_wait=0.0005)


def of_another_version(snapshot: ModelSnapshot, version: int, **changes: Any) -> ModelSnapshot:
    return replace(snapshot, description=snapshot.description.model_copy(update={"version": version, **changes}))


def model_of(results: Iterable[answer_pb2.ClassifyResult], colours: list[int], neighbours: int) -> str:
    """Whose answers these are, all of them; fails where a figure of any is not that model's."""
    models = set()
    for result, colour in zip(results, colours, strict=True):
        answer = result.answer
        model = "tiny" if answer.label.name in NAMES["tiny"] else "other"
        models.add(model)
        assert answer.label.name == TRUTH[model][colour]
        assert answer.label.name == NAMES[model][answer.label.index]
        assert len(answer.probabilities) == len(NAMES[model])
        assert answer.probabilities[answer.label.index] == max(answer.probabilities)
        assert len(answer.neighbours) == min(neighbours, OTHER_K if model == "other" else 5)
        for neighbour in answer.neighbours:
            assert (neighbour.id >= OTHER_IDS) == (model == "other")
            assert neighbour.label.name == NAMES[model][neighbour.label.index]
    assert len(models) == 1, "one call was answered by two models"
    return models.pop()


def request_of(colours: list[int], seed: int, neighbours: int) -> pb.ClassifyRequest:
    pixels: list[Pixels] = [coloured(colour, 1, seed=seed + place)[0] for place, colour in enumerate(colours)]
    return pb.ClassifyRequest(images=map(raw, pixels), neighbours=neighbours)


class Callers:
    """Threads that ask one server for this and that until they are stopped, and keep whose answers they got, in order."""

    def __init__(self, address: str) -> None:
        self.models: list[list[str]] = []
        self.failures: list[BaseException] = []
        self._address, self._stopping = address, threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(what, number))
            for number, what in enumerate([self._singles, self._many, self._stream, self._infos] * 2)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        if self.failures and exception[0] is None:
            raise self.failures[0]

    def answered(self, model: str) -> int:
        """How many of the threads have had answers of this model."""
        return sum(model in seen for seen in self.models)

    def all_answered(self, model: str) -> bool:
        return bool(self.failures) or self.answered(model) == len(self._threads)

    def _ask(self, what: Any, number: int) -> None:
        seen: list[str] = []
        self.models.append(seen)
        options = [("grpc.use_local_subchannel_pool", 1)]  # a connection, and so a worker, of its own
        try:
            with grpc.insecure_channel(self._address, options) as channel:
                for model in what(HoldfastServiceStub(channel), number):
                    seen.append(model)
                    if self._stopping.is_set():
                        return
        except BaseException as error:  # noqa: BLE001 - raised again by the test
            self.failures.append(error)

    def _singles(self, stub: HoldfastServiceStub, number: int) -> Iterator[str]:
        requests = [request_of([colour], 3 * number + colour, colour) for colour in range(3)]
        while True:
            for colour, request in enumerate(requests):
                yield model_of(stub.Classify(request, timeout=30).results, [colour], colour)

    def _many(self, stub: HoldfastServiceStub, number: int) -> Iterator[str]:
        calls = [[(place + count) % 3 for place in range(count)] for count in (3, 13, 27)]
        requests = [request_of(colours, 50 * number, 1000) for colours in calls]
        while True:
            for colours, request in zip(calls, requests, strict=True):
                yield model_of(stub.Classify(request, timeout=30).results, colours, 1000)

    def _stream(self, stub: HoldfastServiceStub, number: int) -> Iterator[str]:
        asked = [[n % 3, (n + 1) % 3] for n in range(24)]
        messages = [
            pb.ClassifyStreamRequest(sequence=n, images=request_of(colours, 20 * number, 0).images, neighbours=2)
            for n, colours in enumerate(asked)
        ]
        while True:
            for reply in stub.ClassifyStream(iter(messages), timeout=30):
                assert not reply.HasField("error"), reply.error.message
                yield model_of(reply.results, asked[reply.sequence], 2)

    def _infos(self, stub: HoldfastServiceStub, number: int) -> Iterator[str]:
        del number
        while True:
            yield model_by_info(stub)
            time.sleep(0.001)


def model_by_info(stub: HoldfastServiceStub) -> str:
    info = stub.GetModelInfo(pb.GetModelInfoRequest(), timeout=30)
    assert tuple(info.class_names) == NAMES[info.name]
    assert (info.exemplars, info.vote.k) == ((60, 5) if info.name == "tiny" else (45, OTHER_K))
    return info.name


def turns(seen: list[str]) -> int:
    return sum(a != b for a, b in pairwise(seen))


@contextmanager
def connections(address: str, count: int = 8) -> Iterator[list[HoldfastServiceStub]]:
    with ExitStack() as stack:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [stack.enter_context(grpc.insecure_channel(address, options)) for _ in range(count)]
        yield [HoldfastServiceStub(channel) for channel in channels]


def test_every_answer_is_of_one_model_while_another_is_published(server: Served, other_bundle: Path) -> None:
    other = snapshot_of(other_bundle, version=2)
    assert server.metric("holdfast_bundle_info", name="tiny") == 1
    assert server.metric("holdfast_index_disagreement_ratio") == DISAGREEMENT["tiny"]
    with Callers(server.app.address) as callers:
        wait_for(lambda: callers.all_answered("tiny"), 60)
        server.app.publish(other)
        wait_for(lambda: callers.all_answered("other"), 60)
    for seen in callers.models:
        assert turns(seen) <= 2 * 24  # a stream's replies may overtake each other; calls in a row may not turn back
    assert Counter(turns(seen) for seen in callers.models)[1] >= 6  # all but the streams
    assert server.metric("holdfast_bundle_info", name="other") == 1
    assert server.metric("holdfast_bundle_info", name="tiny") == 0
    assert server.metric("holdfast_index_disagreement_ratio") == DISAGREEMENT["other"]
    with connections(server.app.address) as stubs:
        wait_for(lambda: {model_by_info(stub) for stub in stubs} == {"other"})


def test_models_may_take_turns(server: Served, tiny_bundle: Path, other_bundle: Path) -> None:
    snapshots = [snapshot_of(tiny_bundle), snapshot_of(other_bundle)]
    with Callers(server.app.address) as callers:
        wait_for(lambda: callers.all_answered("tiny"), 60)
        for version in range(2, 42):
            server.app.publish(of_another_version(snapshots[version % 2 == 0], version))
            seen = sum(map(len, callers.models))
            wait_for(lambda seen=seen: callers.failures or sum(map(len, callers.models)) > seen + 8)
        wait_for(lambda: callers.all_answered("other"), 60)


def test_probes_are_of_the_model_that_answered(tiny_bundle: Path, other_bundle: Path, loop_thread: LoopThread) -> None:
    """Labels of one model are no labels of the other: a probe of the wrong one flips at once, even by noise."""
    with ExitStack() as stack:
        probing = {"probe_rate": 1.0, "probe_budget": 10.0, "probe_epsilons": (1 / 255,), "probe_steps": 1}
        server = start(stack, loop_thread, tiny_bundle, **probing)
        snapshots = [snapshot_of(tiny_bundle), snapshot_of(other_bundle)]
        for version in range(2, 8):
            ended = server.metric("holdfast_probe_total", attack="noise")
            server.stub.Classify(request_of([0, 1, 2] * 4, version, 0))
            wait_for(lambda ended=ended: server.metric("holdfast_probe_total", attack="noise") > ended)
            server.app.publish(of_another_version(snapshots[version % 2 == 0], version))
            assert server.metric("holdfast_flip_rate") == 0  # of a model that is served no longer
        assert server.metric("holdfast_probe_total", attack="noise", outcome="hold") >= 6
        assert server.metric("holdfast_probe_total", attack="noise", outcome="flip") == 0
        assert server.metric("holdfast_probe_total", outcome="error") == 0


def test_a_model_that_is_no_longer_served_is_let_go(server: Served, other_bundle: Path) -> None:
    first = weakref.ref(server.app.holder.current)
    classifier = weakref.ref(server.app.holder.current.classifier)
    server.stub.Classify(request_of([0, 1, 2] * 5, 0, 2))
    server.app.publish(snapshot_of(other_bundle, version=2))
    server.stub.Classify(request_of([0, 1, 2] * 5, 0, 2))

    def gone() -> bool:
        gc.collect()
        return first() is None and classifier() is None

    wait_for(gone)


def test_a_model_with_another_input_contract_is_refused(served: Served, other_bundle: Path) -> None:
    other = snapshot_of(other_bundle)
    with pytest.raises(ContractMismatchError, match=r"\(9, 16, 3\).*restart"):
        served.app.publish(of_another_version(other, 2, contract=InputContract(height=9, width=16)))
    assert model_by_info(served.stub) == "tiny"
    assert model_of(served.stub.Classify(request_of([1], 0, 0)).results, [1], 0) == "tiny"


@pytest.mark.parametrize("version", [0, 1])
def test_a_version_follows_a_smaller_one(served: Served, other_bundle: Path, version: int) -> None:
    with pytest.raises(PublishError, match=f"version {version} "):
        served.app.publish(snapshot_of(other_bundle, version=version))
    assert model_by_info(served.stub) == "tiny"


def test_a_check_can_refuse_a_model_and_a_subscriber_cannot(served: Served, other_bundle: Path) -> None:
    holder, heard = type(served.app.holder)(served.app.holder.current), []

    def only_three(snapshot: ModelSnapshot) -> None:
        if len(snapshot.description.class_names) > 3:
            raise HoldfastError("too many classes")

    def broken(snapshot: ModelSnapshot) -> None:
        raise ZeroDivisionError

    holder.subscribe(broken)
    end = holder.subscribe(lambda snapshot: heard.append(snapshot.version))
    holder.publish(of_another_version(holder.current, 2))
    holder.require(only_three)
    with pytest.raises(HoldfastError, match="too many"):
        holder.publish(snapshot_of(other_bundle, version=3))
    holder.publish(of_another_version(holder.current, 4))
    end()
    holder.publish(of_another_version(holder.current, 5))
    assert heard == [2, 4]
    with pytest.raises(HoldfastError, match="too many"):
        type(holder)(snapshot_of(other_bundle)).require(only_three)


def test_a_worker_that_is_started_later_knows_the_model_of_then(
    tiny_bundle: Path, other_bundle: Path, loop_thread: LoopThread
) -> None:
    if sys.platform != "linux":
        pytest.skip("workers share a port as Linux does it")
    with ExitStack() as stack:
        others = workers_of(os.getpid())  # other tests' and libraries' child processes
        server = start(stack, loop_thread, tiny_bundle, workers=1)
        begun = server.metric("process_start_time_seconds", process="worker-0")
        server.app.publish(snapshot_of(other_bundle, version=2))
        (worker,) = workers_of(os.getpid()) - others
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: server.metric("process_start_time_seconds", process="worker-0") not in {0, begun})
        with connections(server.app.address, 1) as (stub,):
            assert model_by_info(stub) == "other"
            assert model_of(stub.Classify(request_of([2], 0, 3)).results, [2], 3) == "other"


def test_a_description_survives_json(tiny_bundle: Path) -> None:
    description = snapshot_of(tiny_bundle).description
    assert json.loads(description.model_dump_json())["class_names"] == ["red", "green", "blue"]
    assert type(description).model_validate_json(description.model_dump_json()) == description
