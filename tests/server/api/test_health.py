"""Health that tests the engine, and metrics that move."""

import threading

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from holdfast.model.classifier import Classifier, Retrieval
from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.protos.holdfast.v1 import image_pb2
from holdfast.server.api.holdfast_v1 import NAME
from tests.server.running import Serve, Served, await_metric, wait_for
from tests.server.tiny import Pixels, coloured, raw

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
GOOD = raw(coloured(1, 1, seed=1)[0])


def health(served: Served, service: str = "") -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    return int(health_pb2_grpc.HealthStub(served.channel).Check(request).status)


def await_health(served: Served, status: int) -> None:
    wait_for(lambda: health(served) == status)
    assert health(served, NAME) == status


def test_a_model_that_fails_is_not_serving_until_it_works_again(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve(canary_interval=0.1)
    assert health(served) == SERVING
    with monkeypatch.context() as broken:
        broken.setattr(Classifier, "retrieve", lambda *_: 1 / 0)
        await_health(served, NOT_SERVING)
    await_health(served, SERVING)


def test_a_model_that_hangs_is_not_serving(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve(canary_interval=0.1, canary_timeout=0.1)
    release, retrieve = threading.Event(), Classifier.retrieve

    def hang(classifier: Classifier, images: Pixels) -> Retrieval:
        release.wait(20)
        return retrieve(classifier, images)

    monkeypatch.setattr(Classifier, "retrieve", hang)
    await_health(served, NOT_SERVING)
    release.set()
    await_health(served, SERVING)


def test_an_engine_thread_that_is_gone_is_not_serving(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve(canary_interval=0.1, canary_timeout=0.1)
    served.app.batcher.stop()
    await_health(served, NOT_SERVING)


def test_every_metric_has_help_and_the_promised_ones_move(serve: Serve) -> None:
    served = serve(probe_rate=1.0, probe_budget=1.0, probe_epsilons=(0.01, 1.0), probe_steps=2)
    bad = image_pb2.Image(encoded=b"no")
    served.stub.Classify(pb.ClassifyRequest(images=[GOOD, bad, raw(coloured(0, 1, seed=2)[0])]))
    list(served.stub.ClassifyStream(iter([pb.ClassifyStreamRequest(images=[GOOD])])))
    unary = {"grpc_type": "unary", "grpc_service": NAME, "grpc_method": "Classify"}
    for name, labels, value in [
        ("grpc_server_started_total", unary, 1),
        ("grpc_server_handled_total", unary | {"grpc_code": "OK"}, 1),
        ("grpc_server_handling_seconds_count", unary, 1),
        ("grpc_server_handled_total", {"grpc_type": "bidi_stream", "grpc_code": "OK"}, 1),
        ("holdfast_soft_margin_bucket", {"le": "+Inf"}, 3),
        ("holdfast_kth_neighbour_distance_count", {}, 3),
        ("holdfast_credibility_count", {}, 3),
        ("holdfast_rejected_images_total", {"field": "encoded"}, 1),
        ("holdfast_bundle_info", {"name": "tiny"}, 1),
        ("holdfast_index_disagreement_ratio", {}, 0.05),
        ("holdfast_queue_images", {}, 0),
        ("holdfast_admitted_images", {}, 0),
    ]:
        await_metric(served, name, value, **labels)
    # two canaries at the start, of 1 and of a full batch, and the three images
    assert served.metric("holdfast_batch_images_sum") == 1 + served.app.settings.max_batch + 3
    assert served.metric("holdfast_queue_wait_seconds_count") == 1 + served.app.settings.max_batch + 3
    assert served.metric("process_resident_memory_bytes") > 1e6
    await_metric(served, "holdfast_probe_total", 18)  # 3 images, 3 attacks, 2 radii
    wait_for(lambda: served.metric("holdfast_flip_rate", attack="pgd", epsilon="1", bound="estimate") > 0)
    for attack in ("noise", "pgd", "square"):
        low, estimate, high = (
            served.metric("holdfast_flip_rate", attack=attack, epsilon="0.01", bound=bound)
            for bound in ("low", "estimate", "high")
        )
        assert 0 <= low <= estimate <= high <= 1
    assert served.metric("holdfast_probe_cpu_seconds_total") > 0


def test_abstentions_are_counted(served: Served) -> None:
    noise = raw(coloured(0, 1, seed=2)[0] // 3 + coloured(2, 1, seed=2)[0] // 3)
    before = served.metric("holdfast_abstain_total")
    (result,) = served.stub.Classify(pb.ClassifyRequest(images=[noise])).results
    await_metric(served, "holdfast_abstain_total", before + result.answer.abstain)
