"""/healthz and /readyz of a real server, beside its metrics."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urljoin
from urllib.request import Request, urlopen

import pytest

from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.protos.holdfast.v1 import image_pb2
from holdfast.server.core.snapshot import ModelSnapshot
from tests.server.running import LoopThread, Serve, Served, refusal, start, wait_for
from tests.server.tiny import coloured, png

QUICK = {"canary_interval": 0.05, "canary_timeout": 0.1}
CALL = pb.ClassifyRequest(images=[image_pb2.Image(encoded=png(coloured(0, 1, seed=904)[0]))])


def page(served: Served, path: str, method: str = "GET") -> tuple[int, str]:
    """Status and text of a page beside the metrics."""
    request = Request(urljoin(served.app.metrics_url, path), method=method)  # noqa: S310 - our own address
    try:
        with urlopen(request, timeout=10) as reply:  # noqa: S310
            return reply.status, reply.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def statuses(served: Served) -> tuple[int, int]:
    """Of /healthz and /readyz."""
    return page(served, "/healthz")[0], page(served, "/readyz")[0]


@pytest.fixture
def going(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The model of servers in this process answers while it is set."""
    event, retrieve = threading.Event(), ModelSnapshot.retrieve
    event.set()

    def held(snapshot: ModelSnapshot, images: object) -> object:
        event.wait(30)
        return retrieve(snapshot, images)  # type: ignore[arg-type]

    monkeypatch.setattr(ModelSnapshot, "retrieve", held)
    yield event
    event.set()


def test_a_server_that_serves_says_so(served: Served) -> None:
    assert page(served, "/healthz") == page(served, "/readyz") == (200, "ok\n")
    assert page(served, "/healthz", "HEAD") == (200, "")
    assert page(served, "/healthz", "POST")[0] == 405
    assert page(served, "/health")[0] == 404


def test_with_workers_it_is_ready_once_they_are(serve: Serve) -> None:
    served = serve(workers=1)
    wait_for(lambda: statuses(served) == (200, 200))


def test_a_model_that_hangs_is_not_ready_and_then_not_live(serve: Serve, going: threading.Event) -> None:
    served = serve(**QUICK)
    wait_for(lambda: statuses(served) == (200, 200))
    going.clear()
    wait_for(lambda: statuses(served) == (503, 503))
    assert page(served, "/healthz")[1].strip()
    going.set()
    wait_for(lambda: statuses(served) == (200, 200))


def test_a_model_that_fails_is_not_ready_but_lives(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve(canary_interval=0.05, canary_timeout=0.2)

    def failing(snapshot: ModelSnapshot, images: object) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(ModelSnapshot, "retrieve", failing)
    refusal(lambda: served.stub.Classify(CALL))
    wait_for(lambda: page(served, "/readyz")[0] == 503)
    give_up = time.monotonic() + 1.3  # longer than a model may hang
    while time.monotonic() < give_up:
        assert page(served, "/healthz")[0] == 200


def test_a_server_that_drains_is_not_ready_but_lives(tiny_bundle: Path, loop_thread: LoopThread) -> None:
    with ExitStack() as stack:
        served = start(stack, loop_thread, tiny_bundle, drain_notice=1.0)
        ending = threading.Thread(target=stack.close)
        ending.start()
        wait_for(lambda: statuses(served) == (200, 503))
        ending.join()


def test_a_loop_that_does_not_turn_is_noticed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.server.telemetry.conditions.LOOP_TIMEOUT_S", 0.3)
    monkeypatch.setattr("holdfast.server.telemetry.conditions.TURN_EVERY_S", 0.05)
    served = serve()
    let_go = threading.Event()
    hanging = threading.Thread(target=lambda: served.loop.call(lambda: let_go.wait(20)))
    hanging.start()
    try:
        wait_for(lambda: statuses(served) == (503, 503))
    finally:
        let_go.set()
        hanging.join()
    wait_for(lambda: statuses(served) == (200, 200))
