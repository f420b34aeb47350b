"""Images per second of training on several threads, against on one.

Each thread learns from its share of every batch, so twice the cores could do twice the images. Both train the same encoder by
the same objective on the same batches, in one process, in turns, and each pair gives one ratio. On a machine where other
programs take the cores, the ratio says more of them than of the trainer.

    python -m bench.threads [--threads 2] [--width 48] [--batch 256] [--steps 10] [--pairs 8] [--json FILE]
"""

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from bench.harness.environment import restart_with_one_thread
from bench.harness.report import Spread, Target, run_benchmark, show, write_json
from bench.training import PGD_STEPS, add_flags, encoder_named, noisy_images, training_config
from holdfast.flags import whole_number

BOUND = 0.8
"""Of what as many cores could do at best."""


def measure(threads: int, width: int, batch: int, steps: int, pairs: int) -> tuple[Spread, Spread, Spread]:
    """Images per second on `threads` threads and on one, and their ratio pair by pair."""
    from holdfast.console import track  # noqa: PLC0415 - after main has set the environment
    from holdfast.trainer.train import train  # noqa: PLC0415

    splits = noisy_images(20 * batch)
    seconds: dict[int, list[float]] = {threads: [], 1: []}
    with tempfile.TemporaryDirectory() as folder:
        config = training_config(Path(folder), encoder_named("amdim", width), batch, steps)
        for i in track(range(pairs + 1), description="training"):
            for number in (threads, 1) if i % 2 else (1, threads):
                seconds[number].append(train(replace(config, threads=number), splits).seconds)
    many, one = (seconds[number][1:] for number in (threads, 1))  # the first warms up
    images = steps * batch
    ratios = [b / a for a, b in zip(many, one, strict=True)]
    return Spread.of([images / s for s in many]), Spread.of([images / s for s in one]), Spread.of(ratios)


def main() -> int:
    """Runs the benchmark. Returns 0 where the target is met, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.threads", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=whole_number(1), default=2, help="to compare with one (default: %(default)s)")
    add_flags(parser)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    if not 2 <= options.threads <= cores:
        parser.error(f"--threads must be between 2 and the {cores} cores of this process, not {options.threads}")
    restart_with_one_thread("bench.threads")
    many, one, ratio = measure(options.threads, options.width, options.batch, options.steps, options.pairs)
    target = Target(f"{options.threads} threads / one", ratio.median, BOUND * options.threads, at_least=True)
    show(
        f"PGD-{PGD_STEPS} adversarial training, AMDIM width {options.width}, batch {options.batch}",
        ["", "images per second: median (quartiles)"],
        [[f"{options.threads} threads", str(many)], ["one thread", str(one)], ["ratio, pair by pair", str(ratio)]],
        target,
    )
    if options.json:
        values = {"many": many.median, "one": one.median, "ratio_low": ratio.low, "ratio_high": ratio.high}
        settings = {"threads": options.threads, "width": options.width, "batch": options.batch}
        write_json(options.json, "threads", {**values, **settings}, target=target)
    return 0 if target.met else 1


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
