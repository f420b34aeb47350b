"""What changing exemplars costs: adds a second, the time until one is acknowledged, and what callers who classify notice.

A real server with a new store. Batches are added as fast as they are acknowledged; then single exemplars, one after the other;
then callers classify in pairs of equal spells, one with a stream of additions beside them and one without, in turn, and their
99th percentiles are compared pair by pair. Images are noise, embedded as any others are. With --judge each is judged before it
counts; noise is often held back, which costs what a change costs.

    python -m bench.live.exemplars --bundle DIR [--seconds 3] [--pairs 5] [--rate 200] [--json FILE]
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc
import numpy as np

from bench.harness.callers import run_callers
from bench.harness.environment import restart_with_one_thread
from bench.harness.report import run_benchmark, show, write_json
from bench.harness.server_process import Server, running_server
from holdfast.bundle.reader import read_manifest
from holdfast.flags import positive, whole_number
from holdfast.model.encoder.onnx import OnnxEncoder
from holdfast.protos.holdfast.admin.v1 import admin_pb2, exemplar_pb2
from holdfast.protos.holdfast.admin.v1.admin_pb2_grpc import AdminServiceStub
from holdfast.protos.holdfast.v1 import image_pb2

BATCH = 64
SINGLES = 200
STREAM_BATCH = 20


@dataclass(frozen=True)
class ChangeCosts:
    """What was measured.

    Attributes:
        adds_per_second: in batches of BATCH, embedding included.
        add_cpu_us: microseconds of the server's CPU for each of these.
        single_p50_ms: from the call to the acknowledgement of one exemplar.
        embedding_ms: of one image, by the encoder alone.
        commit_ms: mean of a commit, as the server measured it.
        p99_alone_ms, p99_beside_ms: of callers, without and with additions: medians of the spells.
        p99_ratio: median over pairs.

    """

    adds_per_second: float
    add_cpu_us: float
    single_p50_ms: float
    embedding_ms: float
    commit_ms: float
    p99_alone_ms: float
    p99_beside_ms: float
    p99_ratio: float


class Adder:
    """Adds exemplars of noise through the admin service."""

    def __init__(self, address: str, shape: tuple[int, int, int]) -> None:
        self._channel = grpc.insecure_channel(address)
        self._stub, self._shape, self._sent = AdminServiceStub(self._channel), shape, 0
        self._draw = np.random.default_rng(0)

    def add(self, count: int) -> None:
        """So many, in one call."""
        self._sent += 1
        noise = self._draw.integers(0, 256, (count, *self._shape), dtype=np.uint8)
        exemplars = [
            exemplar_pb2.NewExemplar(
                image=image_pb2.Image(
                    raw=image_pb2.RawImage(data=each.tobytes(), shape=self._shape, dtype=image_pb2.DATA_TYPE_UINT8)
                ),
                label="noise",
            )
            for each in noise
        ]
        request = admin_pb2.AddExemplarsRequest(exemplars=exemplars, request_id=f"bench {self._sent}")
        self._stub.AddExemplars(request, timeout=60)

    @contextmanager
    def streaming(self, rate: float) -> Iterator[None]:
        """Add so many a second meanwhile, in batches of STREAM_BATCH."""
        over = threading.Event()

        def stream() -> None:
            following = time.monotonic()
            while not over.is_set():
                self.add(STREAM_BATCH)
                following = max(following + STREAM_BATCH / rate, time.monotonic() - 1)
                over.wait(max(0.0, following - time.monotonic()))

        thread = threading.Thread(target=stream)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def measure(server: Server, admin: str, bundle: Path, options: argparse.Namespace) -> ChangeCosts:
    """All of it on one server."""
    shape = read_manifest(bundle).input.shape
    adder = Adder(admin, shape)
    adder.add(BATCH)
    began, cpu, batches = time.monotonic(), server.scrape()["process_cpu_seconds_total"], 0
    while time.monotonic() - began < options.seconds:
        adder.add(BATCH)
        batches += 1
    rate = batches * BATCH / (time.monotonic() - began)
    cpu = server.scrape()["process_cpu_seconds_total"] - cpu
    singles = [_timed(lambda: adder.add(1)) for _ in range(SINGLES)]
    encoder = OnnxEncoder(bundle / "encoder.onnx")
    image = np.zeros((1, *shape), dtype=np.uint8)
    embeddings = [_timed(lambda: encoder.embed(image)) for _ in range(SINGLES)]
    alone, beside = [], []
    for pair in range(options.pairs):
        for streams in (False, True) if pair % 2 else (True, False):
            if streams:
                with adder.streaming(options.rate):
                    beside.append(_p99(server, options))
            else:
                alone.append(_p99(server, options))
    scraped = server.scrape()
    return ChangeCosts(
        adds_per_second=rate,
        add_cpu_us=1e6 * cpu / (batches * BATCH),
        single_p50_ms=1e3 * statistics.median(singles),
        embedding_ms=1e3 * statistics.median(embeddings),
        commit_ms=1e3 * scraped["holdfast_store_commit_seconds_sum"] / scraped["holdfast_store_commit_seconds_count"],
        p99_alone_ms=statistics.median(alone),
        p99_beside_ms=statistics.median(beside),
        p99_ratio=statistics.median(b / a for a, b in zip(alone, beside, strict=True)),
    )


def _p99(server: Server, options: argparse.Namespace) -> float:
    (load,) = run_callers(server, "--callers", options.callers, "--seconds", options.seconds).loads
    return load.p99


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> int:
    """Measures, prints and writes. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.live.exemplars", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="to serve")
    parser.add_argument("--seconds", type=positive, default=3.0, help="of each spell (default: %(default)s)")
    parser.add_argument("--pairs", type=whole_number(1), default=5, help="of spells (default: %(default)s)")
    parser.add_argument("--rate", type=positive, default=200.0, help="additions a second beside callers (default: %(default)s)")
    parser.add_argument("--callers", type=whole_number(1), default=4, help="who classify at a time (default: %(default)s)")
    parser.add_argument("--judge", action="store_true", help="judge each exemplar, as a server does by default")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = ("--store", f"{folder}/store", "--admin-insecure", "--admin-port", "0", "--store-rate", "1e6")
        judge = () if options.judge else ("--no-judge",)
        with running_server(options.bundle, *store, *judge) as server:
            costs = measure(server, server.admin, options.bundle, options)
    rows = [[name.replace("_", " "), f"{value:.3g}"] for name, value in asdict(costs).items()]
    show("Changing exemplars", ("what", "measured"), rows)
    if options.json:
        asked = {name: getattr(options, name) for name in ("seconds", "pairs", "rate", "callers", "judge")}
        write_json(options.json, "exemplars", asked | asdict(costs))
    return 0


if __name__ == "__main__":
    restart_with_one_thread("bench.live.exemplars")
    sys.exit(run_benchmark(main))
