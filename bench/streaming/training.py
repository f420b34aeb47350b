"""Images per second of a training that decodes its photographs, against decoding and the same passes alone; and its memory.

The set is made of a folder of photographs (`bench.streaming.photos`), as tar shards. Three things are timed in turns, on the
same batches: processes decode them and nothing is learned; they are learned from in memory; and both at once, as by `holdfast
train --memory 0`. The ratio is what both at once reach of the slower of the other two. Resident memory is that of this
process and of those that decode, what they share counted once, over an epoch and a half.

    python -m bench.streaming.training --photos DIR [--images 2000] [--width 16] [--steps 24] [--pairs 3] [--decoders 1]
"""

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness.environment import restart_with_one_thread
from bench.harness.report import Spread, Target, run_benchmark, show, write_json
from bench.streaming.photos import write_shards
from holdfast.flags import whole_number

if TYPE_CHECKING:
    from holdfast.data import Splits
    from holdfast.data.streaming.training import StreamedTraining
    from holdfast.trainer.config import TrainConfig

BOUND = 0.85
SAMPLED_EVERY_S = 0.1


def config_of(folder: Path, options: argparse.Namespace) -> "TrainConfig":
    """A supervised run on one thread, without checkpoints in between."""
    from holdfast.trainer.config import Stage, TrainConfig  # noqa: PLC0415 - after main has set the environment
    from holdfast.trainer.encoders import ResNetConfig  # noqa: PLC0415
    from holdfast.trainer.objectives import SupervisedConfig  # noqa: PLC0415

    stage = Stage("supervised", SupervisedConfig(), steps=options.steps, batch_size=options.batch)
    encoder = ResNetConfig(options.width, 1, 64, image_size=options.size)
    return TrainConfig(encoder, (stage,), out=folder, device="cpu", checkpoint_every=10**6, k=5)


def decode(streamed: "StreamedTraining", config: "TrainConfig") -> float:
    """Seconds that the processes need for the run's batches, and nothing else is done."""
    import torch  # noqa: PLC0415

    from holdfast.trainer.loop.sampling import places_of  # noqa: PLC0415
    from holdfast.trainer.loop.streamed_set import whole_set  # noqa: PLC0415

    (stage,), learned = config.stages, whole_set(streamed.train, torch.device("cpu"))
    began = time.perf_counter()
    for _ in learned.batches(places_of(learned, stage, config.seed, step) for step in range(1, stage.steps + 1)):
        pass
    return time.perf_counter() - began


def learn(config: "TrainConfig", splits: "Splits | StreamedTraining") -> float:
    """Seconds of a training."""
    from holdfast.trainer.train import train  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        return train(replace(config, out=Path(folder)), splits).seconds


def resident_mb() -> float:
    """Of this process and its children: what is theirs alone, and their part of what is shared."""
    total = 0
    for name in ("self", *(str(child.pid) for child in active_children())):
        try:
            lines = Path("/proc", name, "smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it has just ended
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024 / 1e6


@contextmanager
def sampled_memory() -> Iterator[list[float]]:
    """Samples of `resident_mb`, taken by a thread while the context is open."""
    samples: list[float] = []
    over = threading.Event()

    def sample() -> None:
        while not over.wait(SAMPLED_EVERY_S):
            samples.append(resident_mb())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def measure(shards: Path, options: argparse.Namespace) -> tuple[list[list[float]], list[float]]:
    """Seconds of decoding, of passes and of both, a pair each; and megabytes over an epoch and a half."""
    from holdfast.data import load  # noqa: PLC0415
    from holdfast.data.streaming.training import open_training  # noqa: PLC0415

    config = config_of(Path(), options)
    streamed = open_training(shards, options.size, calibration=0, decoders=options.decoders, quiet=True)
    found: list[list[float]] = [[], [], []]
    try:
        steps = 3 * len(streamed.train) // (2 * options.batch)
        with sampled_memory() as samples:  # before there is a set in memory
            learn(replace(config, stages=(replace(config.stages[0], steps=steps),)), streamed)
        held = load("folder", directory=shards, size=options.size, calibration=0)
        for pair in range(options.pairs + 1):
            taken = decode(streamed, config), learn(config, held), learn(config, streamed)
            if pair:  # the first warms up
                for seconds, one in zip(found, taken, strict=True):
                    seconds.append(one)
    finally:
        streamed.close()
    return found, samples


def growth_of(samples: list[float]) -> tuple[float, float]:
    """Medians of the second fifth of the samples, once the run was under way, and of the last fifth."""
    fifth = max(1, len(samples) // 5)
    return statistics.median(samples[fifth : 2 * fifth]), statistics.median(samples[-fifth:])


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.streaming.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR", help="photographs that the set is made of")
    parser.add_argument("--images", type=whole_number(500), default=2_000, help="of the set (default: %(default)s)")
    parser.add_argument("--side", type=whole_number(16), default=384, help="of the photographs (default: %(default)s)")
    parser.add_argument(
        "--size", type=int, choices=(32, 64), default=64, help="that they are learned at (default: %(default)s)"
    )
    parser.add_argument("--width", type=whole_number(1), default=16, help="of the encoder (default: %(default)s)")
    parser.add_argument("--batch", type=whole_number(2), default=64, help="images per step (default: %(default)s)")
    parser.add_argument("--steps", type=whole_number(4), default=24, help="steps that are timed (default: %(default)s)")
    parser.add_argument("--pairs", type=whole_number(2), default=3, help="measured pairs (default: %(default)s)")
    parser.add_argument("--decoders", type=whole_number(1), default=1, help="processes that decode (default: %(default)s)")
    parser.add_argument("--shards", type=Path, metavar="DIR", help="where the set is kept, or lies already (default: nowhere)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    return parser.parse_args()


def main() -> int:
    """Runs the benchmark. Returns 0 where the target is met, else 1."""
    options = parsed()
    restart_with_one_thread("bench.streaming.training")
    with tempfile.TemporaryDirectory() as place:
        shards = options.shards or Path(place) / "shards"
        write_shards(options.photos, shards, options.images, options.side)
        os.environ["XDG_CACHE_HOME"] = place  # what is found of the set is not left behind
        (decoding, passes, both), samples = measure(shards, options)
    images = options.steps * options.batch
    ratios = [max(one, other) / together for one, other, together in zip(decoding, passes, both, strict=True)]
    speeds = [Spread.of([images / seconds for seconds in each]) for each in (decoding, passes, both)]
    ratio, (early, late) = Spread.of(ratios), growth_of(samples)
    target = Target("both / the slower alone", ratio.median, BOUND, at_least=True)
    names = ("decoding alone", "passes alone, in memory", "both")
    rows = [[name, f"{speed} images/s"] for name, speed in zip(names, speeds, strict=True)]
    rows += [
        ["ratio", str(ratio)],
        ["resident, early in 1.5 epochs", f"{early:.0f} MB"],
        ["resident, at their end", f"{late:.0f} MB"],
    ]
    show(
        f"{options.images:,} photographs of {options.side} x {options.side} as {options.size} x {options.size}, width"
        f" {options.width}, {options.decoders} decoding",
        ["what", "measured"],
        rows,
        target,
    )
    if options.json:
        numbers = {"ratio": ratio.median, "decoding": speeds[0].median, "passes": speeds[1].median, "both": speeds[2].median}
        write_json(options.json, "streaming", numbers | {"early_mb": early, "late_mb": late}, target=target)
    return 0 if target.met else 1


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
