"""The server's engine against the two libraries that it is made of.

The engine is the server's own, without gRPC: calls of a full batch each wait in its queue, are embedded and searched, put in
canonical order, voted on, and given credibility and soft margin. The bare loop runs the same graph and a flat search of as
many of the same exemplars, at the same batch and on the same device, and does nothing with what comes out. On a GPU both keep
their batch in buffers that were bound before. In turns, in one process; one ratio a round, and the median counts.

    python -m bench.engine --bundle DIR [--device cuda] [--batch 256] [--seconds 2] [--rounds 7] [--json FILE]

With --against the other side is another bundle: both classify the same images, without the queue, and nothing is promised.

    python -m bench.engine --bundle DIR-int8 --against DIR [--batch 64]
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.harness.environment import add_device_flag, add_precision_flag, restart_with_one_thread
from bench.harness.report import Spread, Target, run_benchmark, show, write_json
from bench.harness.timing import times_a_second
from holdfast.flags import positive, whole_number

if TYPE_CHECKING:
    from holdfast.bundle.reader import Bundle
    from holdfast.model.device_choice import Precision
    from holdfast.model.encoder.device import Device
    from holdfast.server.core.batching import Batcher

BOUND = 0.90
CALLS = 4
"""Under way at a time, so that a batch is always waiting."""


def measure(
    directory: Path, device: "Device", precision: "Precision", *, batch: int, seconds: float, rounds: int
) -> tuple[str, Spread, Spread, Spread]:
    """Where it ran; images per second of the engine and of the bare loop; their ratio round by round."""
    # Imported here: these libraries read their environment when they are imported, and main sets it first.
    import numpy as np  # noqa: PLC0415

    from holdfast.bundle.reader import Bundle  # noqa: PLC0415
    from holdfast.console import track  # noqa: PLC0415
    from holdfast.server.core.batching import Limits  # noqa: PLC0415
    from holdfast.server.core.engine import batcher_of  # noqa: PLC0415
    from holdfast.server.core.holder import ModelHolder  # noqa: PLC0415
    from holdfast.server.core.scheduling.admission import AdmissionLimits  # noqa: PLC0415
    from holdfast.server.core.snapshot import ModelSnapshot  # noqa: PLC0415
    from holdfast.server.metrics.metrics import Metrics  # noqa: PLC0415

    bundle = Bundle.open(directory, device=device, max_batch=batch, precision=precision)
    images = np.random.default_rng(0).integers(0, 256, (batch, *bundle.manifest.input.shape), dtype=np.uint8)
    bare = bare_loop(bundle, images)
    ours: list[float] = []
    theirs: list[float] = []
    with asyncio.Runner() as runner:
        holder = ModelHolder(ModelSnapshot.of(bundle, version=1))
        engine = batcher_of(holder, Limits(batch, 0.0, AdmissionLimits(CALLS * batch)), Metrics())
        turns: list[tuple[Callable[[], float], list[float]]] = [
            (lambda: runner.run(_answers(engine, images, seconds)), ours),
            (lambda: times_a_second(bare, seconds), theirs),
        ]
        runner.run(_start(engine))
        for i in track(range(rounds + 1), description="classifying"):
            for measured, rates in turns if i % 2 else reversed(turns):
                rates.append(batch * measured())
        engine.stop()
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    # The first of each warms up.
    return str(bundle.placement), Spread.of(ours[1:]), Spread.of(theirs[1:]), Spread.of(ratios[1:])


def compare(directory: Path, other: Path, *, batch: int, seconds: float, rounds: int) -> tuple[Spread, Spread, Spread]:
    """Images per second that each of two bundles classifies on the CPU, and their ratio round by round."""
    import numpy as np  # noqa: PLC0415

    from holdfast.bundle.reader import Bundle  # noqa: PLC0415
    from holdfast.console import track  # noqa: PLC0415

    bundles = [Bundle.open(each) for each in (directory, other)]
    images = np.random.default_rng(0).integers(0, 256, (batch, *bundles[0].manifest.input.shape), dtype=np.uint8)
    classifiers = [bundle.classifier() for bundle in bundles]
    rates: tuple[list[float], list[float]] = ([], [])
    for i in track(range(rounds + 1), description="classifying"):
        for which in (0, 1) if i % 2 else (1, 0):
            classify = partial(classifiers[which].classify, images)
            rates[which].append(batch * times_a_second(classify, seconds))
    ours, theirs = (each[1:] for each in rates)  # the first of each warms up
    return Spread.of(ours), Spread.of(theirs), Spread.of([a / b for a, b in zip(ours, theirs, strict=True)])


def bare_loop(bundle: "Bundle", images: Any) -> Callable[[], object]:
    """One turn of ONNX Runtime and faiss alone. `images` is uint8 [N, H, W, 3]."""
    import faiss  # noqa: PLC0415

    from holdfast.bundle.reader import ENCODER, ENCODER_FLOAT16  # noqa: PLC0415
    from holdfast.model.encoder.session import open_session  # noqa: PLC0415
    from holdfast.model.retrieval.base import bank_of  # noqa: PLC0415

    graph = ENCODER_FLOAT16 if bundle.placement.precision == "float16" else ENCODER
    session = open_session(bundle.directory / graph, device=bundle.placement.device)
    rows: Any = faiss.IndexFlatIP(bundle.index.dim)
    rows.add(bank_of(bundle.index).embeddings)
    k = bundle.manifest.vote.k
    if bundle.placement.device == "cpu":
        return lambda: rows.search(session.run(None, {"images": images})[0], k)
    embed = _bound(session, images, bundle.encoder.dim)
    resources = faiss.StandardGpuResources()
    on_gpu = faiss.index_cpu_to_gpu(resources, 0, rows)

    def turn(_resources: object = resources) -> object:  # which must outlive the index
        return on_gpu.search(embed(), k)

    return turn


def _bound(session: Any, images: Any, dim: int) -> Callable[[], Any]:
    """The graph on a GPU, with its batch in one buffer and its result in another."""
    import numpy as np  # noqa: PLC0415

    from holdfast.model.encoder.onnx_runtime import onnxruntime as ort  # noqa: PLC0415

    source = ort.OrtValue.ortvalue_from_numpy(images, "cuda", 0)
    result = ort.OrtValue.ortvalue_from_shape_and_type((len(images), dim), np.float32, "cuda", 0)
    binding = session.io_binding()
    binding.bind_ortvalue_input("images", source)
    binding.bind_ortvalue_output(session.get_outputs()[0].name, result)

    def embed() -> Any:
        source.update_inplace(images)  # each batch comes from the host
        session.run_with_iobinding(binding)
        return result.numpy()

    return embed


async def _start(engine: "Batcher") -> None:
    engine.start()


async def _answers(engine: "Batcher", images: Any, seconds: float) -> float:
    """Full batches answered a second."""
    begun = time.perf_counter()

    async def ask() -> int:
        done = 0
        while time.perf_counter() - begun < seconds or not done:
            await engine.submit(images)
            done += 1
        return done

    answered = await asyncio.gather(*(ask() for _ in range(CALLS)))
    return sum(answered) / (time.perf_counter() - begun)


def main() -> int:
    """Runs the benchmark. Returns 0 where the target is met, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.engine", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="a complete bundle")
    parser.add_argument("--against", type=Path, metavar="DIR", help="another bundle, in place of the bare loop; on the CPU")
    add_device_flag(parser)
    add_precision_flag(parser)
    parser.add_argument("--batch", type=whole_number(1), default=256, help="images at once (default: %(default)s)")
    parser.add_argument("--seconds", type=positive, default=2.0, help="of each turn (default: %(default)s)")
    parser.add_argument("--rounds", type=whole_number(2), default=7, help="turns of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    restart_with_one_thread("bench.engine")
    if options.against is not None:
        return print_comparison(options)
    where, ours, bare, ratio = measure(
        options.bundle, options.device, options.precision, batch=options.batch, seconds=options.seconds, rounds=options.rounds
    )
    target = Target("engine / bare loop", ratio.median, BOUND, at_least=True)
    show(
        f"{options.bundle} on {where}, batches of {options.batch}",
        ["", "images per second: median (quartiles)"],
        [["the engine", str(ours)], ["ONNX Runtime and faiss alone", str(bare)], ["ratio, round by round", str(ratio)]],
        target,
    )
    if options.json:
        values = {"engine": ours.median, "bare": bare.median, "ratio_low": ratio.low, "ratio_high": ratio.high}
        write_json(
            options.json,
            "engine",
            {**values, "batch": options.batch, "precision": options.precision},
            target=target,
            device=options.device,
        )
    return 0 if target.met else 1


def print_comparison(options: argparse.Namespace) -> int:
    """Prints what two bundles classify a second. Returns 0."""
    how = {"batch": options.batch, "seconds": options.seconds, "rounds": options.rounds}
    ours, theirs, ratio = compare(options.bundle, options.against, **how)
    show(
        f"batches of {options.batch}, one CPU thread",
        ["", "images per second: median (quartiles)"],
        [[str(options.bundle), str(ours)], [str(options.against), str(theirs)], ["ratio, round by round", str(ratio)]],
    )
    if options.json:
        values = {"ours": ours.median, "theirs": theirs.median, "ratio": ratio.median, "batch": options.batch}
        write_json(options.json, "engine", values | {"ratio_low": ratio.low, "ratio_high": ratio.high})
    return 0


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
