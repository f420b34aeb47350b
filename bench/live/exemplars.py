"""What changing exemplars costs: adds a second, the time until one is acknowledged, and what callers who classify notice.

A real server with a new store. Batches are added as fast as they are acknowledged; then single exemplars, one after the other;
then callers classify in pairs of equal spells, one with a stream of additions beside them and one without, in turn, and their
99th percentiles are compared pair by pair. In further pairs a process that only embeds as many images takes the place of the
additions: what it costs callers is the machine's, and no store's. With --judge each is judged before it counts; one that is
held back costs what a change costs.

Images are noise, embedded as any others are, and all alike: the judge holds most of them back. With --data-dir they are test
images of the bundle's own set, which it takes as a rule. Callers ask for one half of them; the other half is added, a little
noise on each, by their labels.

    python -m bench.live.exemplars --bundle DIR [--judge] [--data-dir DIR] [--seconds 3] [--pairs 5] [--rate 200] [--json FILE]
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc
import numpy as np
from numpy.typing import NDArray

from bench.harness.callers import run_callers
from bench.harness.environment import restart_with_one_thread
from bench.harness.report import run_benchmark, show, write_json
from bench.harness.server_process import Server, running_server
from bench.live.embedding import embedding_beside
from holdfast.bundle.reader import read_manifest
from holdfast.data import LabelledImages
from holdfast.data.recorded import load_recorded
from holdfast.flags import positive, whole_number
from holdfast.model.encoder.onnx import OnnxEncoder
from holdfast.protos.holdfast.admin.v1 import admin_pb2, exemplar_pb2
from holdfast.protos.holdfast.admin.v1.admin_pb2_grpc import AdminServiceStub
from holdfast.protos.holdfast.v1 import image_pb2

BATCH = 64
NOISE = 4
"""Grey levels on each image that is added, so that none is added twice."""
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
        p99_ratio_embedding: the same, beside a process that only embeds as many.

    """

    adds_per_second: float
    add_cpu_us: float
    single_p50_ms: float
    embedding_ms: float
    commit_ms: float
    p99_alone_ms: float
    p99_beside_ms: float
    p99_ratio: float
    p99_ratio_embedding: float


class Adder:
    """Adds exemplars through the admin service: of noise, or of images with their labels."""

    def __init__(self, address: str, shape: tuple[int, int, int], images: LabelledImages | None = None) -> None:
        self._channel = grpc.insecure_channel(address)
        self._stub, self._shape, self._sent = AdminServiceStub(self._channel), shape, 0
        self._draw, self._images = np.random.default_rng(0), images

    def _drawn(self, count: int) -> tuple[NDArray[np.uint8], list[str]]:
        if self._images is None:
            return self._draw.integers(0, 256, (count, *self._shape), dtype=np.uint8), ["noise"] * count
        images, chosen = self._images, self._draw.integers(0, len(self._images), count)
        noise = self._draw.integers(-NOISE, NOISE + 1, (count, *self._shape))
        pixels = np.clip(images.images[chosen] + noise, 0, 255).astype(np.uint8)
        return pixels, [images.class_names[label] for label in images.labels[chosen]]

    def add(self, count: int) -> None:
        """So many, in one call."""
        self._sent += 1
        pixels, labels = self._drawn(count)
        exemplars = [
            exemplar_pb2.NewExemplar(
                image=image_pb2.Image(
                    raw=image_pb2.RawImage(data=each.tobytes(), shape=self._shape, dtype=image_pb2.DATA_TYPE_UINT8)
                ),
                label=label,
            )
            for each, label in zip(pixels, labels, strict=True)
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
    adder = Adder(admin, shape, options.images)
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
    pairs = _pairs(server, options, lambda: adder.streaming(options.rate))
    embedding = _pairs(server, options, lambda: embedding_beside(bundle, options.rate))
    scraped = server.scrape()
    return ChangeCosts(
        adds_per_second=rate,
        add_cpu_us=1e6 * cpu / (batches * BATCH),
        single_p50_ms=1e3 * statistics.median(singles),
        embedding_ms=1e3 * statistics.median(embeddings),
        commit_ms=1e3 * scraped["holdfast_store_commit_seconds_sum"] / scraped["holdfast_store_commit_seconds_count"],
        p99_alone_ms=statistics.median(alone for alone, _ in pairs),
        p99_beside_ms=statistics.median(beside for _, beside in pairs),
        p99_ratio=statistics.median(beside / alone for alone, beside in pairs),
        p99_ratio_embedding=statistics.median(beside / alone for alone, beside in embedding),
    )


def _pairs(
    server: Server, options: argparse.Namespace, meanwhile: Callable[[], AbstractContextManager[None]]
) -> list[tuple[float, float]]:
    """The 99th percentile of callers alone and beside something, so many times, in turn which of them is first."""
    pairs = []
    for pair in range(options.pairs):
        p99 = {}
        for beside in (False, True) if pair % 2 else (True, False):
            with meanwhile() if beside else nullcontext():
                p99[beside] = _p99(server, options)
        pairs.append((p99[False], p99[True]))
    return pairs


def _p99(server: Server, options: argparse.Namespace) -> float:
    pixels = () if options.pixels is None else ("--pixels", options.pixels)
    (load,) = run_callers(server, "--callers", options.callers, "--seconds", options.seconds, *pixels).loads
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
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="where the bundle's own set lies: its test images, no noise"
    )
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    options.images, options.pixels = None, None
    with tempfile.TemporaryDirectory() as folder:
        if options.data_dir is not None:
            test = load_recorded(read_manifest(options.bundle), options.data_dir).test
            half, options.pixels = len(test) // 2, Path(folder) / "pixels.npy"
            options.images = test.take(np.arange(half, len(test)))
            np.save(options.pixels, test.images[:half])
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
