"""Smoothing on request, against a real server: what it says, what it costs, and who may ask for how much."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from holdfast.client import Client
from holdfast.model.judgement.smoothing import lower_bound
from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.server.core.certifying.smoothing import Certifier
from holdfast.server.core.errors import ModelChangedError
from holdfast.server.core.request import BatchSlice, NoiseDraws, Request
from holdfast.server.core.scheduling.admission import Admission, AdmissionLimits, Demand, Permit
from holdfast.server.core.scheduling.prediction import Backlog
from holdfast.server.metrics.answers.certify import CertifyMetrics
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.settings import Settings
from tests.server.running import Serve, Served, await_metric, refusal
from tests.server.tiny import COLOURS, coloured, raw

IMAGE = coloured(1, 1, seed=11)[0]


def asking(draws: int, sigma: float = 0.1, images: int = 1) -> pb.ClassifyRequest:
    return pb.ClassifyRequest(images=[raw(IMAGE)] * images, certify=draws, certify_sigma=sigma)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_plain_colour_is_certified(serve: Serve, workers: int) -> None:
    server = serve(workers=workers, probe_rate=1, probe_budget=0.5)
    (result,) = server.stub.Classify(asking(100)).results
    smoothing = result.answer.smoothing
    assert (smoothing.label.name, smoothing.hits, smoothing.draws) == (list(COLOURS)[1], 100, 100)
    assert smoothing.share_bound == pytest.approx(lower_bound(100, 100, smoothing.alpha))
    assert smoothing.radius == pytest.approx(0.15, abs=0.001)
    assert server.metric("holdfast_certify_draws_total") == 132
    assert server.metric("holdfast_certified_images_total", outcome="certified") == 1
    await_metric(server, "holdfast_credibility_count", 1)  # noise is no traffic


def test_what_noise_answers_otherwise_is_not(served: Served) -> None:
    between = (IMAGE.astype(int) + coloured(2, 1, seed=12)[0]) // 2  # of two classes, where noise decides
    request = pb.ClassifyRequest(images=[raw(between.astype(np.uint8))], certify=60, certify_sigma=1.0)
    smoothing = served.stub.Classify(request).results[0].answer.smoothing
    assert smoothing.share_bound == pytest.approx(lower_bound(smoothing.hits, 60, smoothing.alpha))
    assert smoothing.HasField("radius") == (smoothing.share_bound > 0.5)


def test_each_image_is_smoothed_and_a_bad_one_fails_alone(served: Served) -> None:
    request = asking(10, images=3)
    request.images[1].raw.data = b"short"
    results = served.stub.Classify(request).results
    assert [r.WhichOneof("outcome") for r in results] == ["answer", "error", "answer"]
    assert [r.answer.smoothing.hits for r in results] == [10, 0, 10]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (asking(4000), "certify"),
        (asking(100, images=20), "certify"),
        *((asking(10, sigma), "certify_sigma") for sigma in (0.0, 1.5, float("nan"))),
        (asking(0, 0.5), "certify_sigma"),
    ],
)
def test_what_nobody_may_ask_for_is_refused(served: Served, request_: pb.ClassifyRequest, field: str) -> None:
    status, fault = rpc_status.from_call(refusal(lambda: served.stub.Classify(request_))), error_details_pb2.BadRequest()
    assert status is not None
    assert status.details[0].Unpack(fault)
    assert [violation.field for violation in fault.field_violations] == [field]


def test_an_operator_can_turn_it_off(serve: Serve) -> None:
    server = serve(certify_passes=0)
    assert refusal(lambda: server.stub.Classify(asking(10))).code() is grpc.StatusCode.FAILED_PRECONDITION
    assert server.stub.GetModelInfo(pb.GetModelInfoRequest()).limits.certify_passes == 0


def test_all_callers_together_get_no_more_than_the_operator_gives(serve: Serve) -> None:
    server = serve(certify_rate=1.0)
    assert server.stub.Classify(asking(10)).results[0].answer.smoothing.draws == 10  # by a full bucket, to be paid for
    error = refusal(lambda: server.stub.Classify(asking(10)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert server.metric("holdfast_certify_refused_images_total") == 1
    assert server.stub.Classify(pb.ClassifyRequest(images=[raw(IMAGE)])).results[0].HasField("answer")


def test_draws_count_as_images_of_their_caller(serve: Serve) -> None:
    server = serve(caller_rate=100.0, caller_burst=2.0)
    server.stub.Classify(asking(200), timeout=30)  # more than a burst: it takes longer, and is answered
    error = refusal(lambda: server.stub.Classify(pb.ClassifyRequest(images=[raw(IMAGE)] * 150)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_small_queue_takes_the_draws_a_few_at_a_time(serve: Serve) -> None:
    server = serve(queue_images=4, max_images=4)
    assert server.stub.Classify(asking(20), timeout=30).results[0].answer.smoothing.hits == 20


def test_a_deadline_ends_it(serve: Serve) -> None:
    server = serve(caller_rate=20.0, caller_burst=1.0)
    error = refusal(lambda: server.stub.Classify(asking(500), timeout=1.0))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_the_client_asks_for_as_many_images_at_a_time_as_the_server_takes(serve: Serve) -> None:
    server = serve(certify_passes=100)
    with Client(server.app.address) as client:
        answers = client.classify_many([IMAGE] * 5, certify=10, sigma=0.05)
    assert [answer.smoothing.draws for answer in answers if not isinstance(answer, Exception)] == [10] * 5


class Changing:
    """A backend whose model changes with the third batch of noise."""

    def __init__(self) -> None:
        self.batches = 0

    def admit(self, demand: Demand) -> Permit:
        admission = Admission(AdmissionLimits(demand.images), Metrics(), Backlog)
        return admission.take(demand)

    async def submit(self, images: Any, *_: Any) -> list[BatchSlice]:
        self.batches += 1
        answers = SimpleNamespace(labels=np.zeros(len(images), np.int64))
        batch = SimpleNamespace(model=SimpleNamespace(version=1 + (self.batches > 2)), answers=answers)
        return [BatchSlice(batch, 0, len(images))]  # type: ignore[arg-type]


async def test_no_certificate_mixes_the_answers_of_two_models() -> None:
    settings = Settings(bundle=Path("none"), certify_rate=1e6)
    certifier = Certifier(settings, Changing(), CertifyMetrics(None))  # type: ignore[arg-type]
    (smoothed,) = await certifier.certify([IMAGE], NoiseDraws(32, 0.1), Request([]), version=1)
    assert smoothed.hits == 32
    with pytest.raises(ModelChangedError):
        await certifier.certify([IMAGE], NoiseDraws(32, 0.1), Request([]), version=1)
