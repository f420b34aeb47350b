"""Train, index, evaluate, serve and measure on one GPU, in this order, and go on where it was left.

Every step is a command of its own, which is shown before it runs, and leaves one small file, OUT/results/STEP.json; a step
that has one is not done again, until the file is deleted. At the end: a table, OUT/gpu.md and OUT/gpu.png.

    python -m bench.gpu --data-dir DIR                       the flagship, on a GPU
    python -m bench.gpu --data-dir DIR --minutes 9           a slice of it; repeated, the next one
    python -m bench.gpu --scale digits --device cpu          the same steps on two CPU cores, in minutes
    python -m bench.gpu --scale digits --device cpu --list   what would be done, and what is done already
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.gpu.page import table, write_page
from bench.gpu.pipeline import Clock, run_steps
from bench.gpu.results import Results
from bench.gpu.scales import SCALES
from bench.gpu.steps import Place, steps
from holdfast.console import Console
from holdfast.errors import HoldfastError
from holdfast.exit_status import DONE, FAILED, GOES_ON, exit_status, explain_statuses
from holdfast.flags import number_in
from holdfast.model.encoder.device import find_gpu


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    console, clock = Console(), Clock(options.minutes, time.monotonic())
    scale = SCALES[options.scale]
    out = options.out or Path("runs") / f"gpu-{options.scale}"

    def run() -> int:
        results = Results(out / "results", steps(scale, Place(out, options.device, options.data_dir)))
        if options.list:
            console.print(table(results.all()))
            return DONE
        check_prerequisites(options)
        run_steps(results, scale, clock, console)
        write_page(out, results.all())
        console.print(table(results.all()))
        console.print(f"written: {out}/gpu.md, {out}/gpu.png, {out}/results", markup=False, highlight=False)
        return DONE if all(found and found.met for _, found in results.all()) else FAILED

    return exit_status("bench.gpu", run, again=GOES_ON)


def check_prerequisites(options: argparse.Namespace) -> None:
    """What is missing is said now, and not after the training.

    Raises:
        HoldfastError: the data set's directory was not given, or the GPU cannot be used.

    """
    if SCALES[options.scale].needs_data and options.data_dir is None:
        raise HoldfastError(f"--scale {options.scale} needs --data-dir DIR, where its data set lies")
    if options.device == "cuda":
        find_gpu()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu",
        description=__doc__,
        epilog=explain_statuses(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    scales = "; ".join(f"{name}: {scale.about}" for name, scale in SCALES.items())
    parser.add_argument("--scale", choices=tuple(SCALES), default="flagship", help=f"{scales} (default: %(default)s)")
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="where every step computes (default: %(default)s)"
    )
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where CIFAR-10 lies, for the flagship")
    parser.add_argument("--out", type=Path, metavar="OUT", help="where everything goes (default: runs/gpu-SCALE)")
    parser.add_argument(
        "--minutes",
        type=number_in(0),
        default=0.0,
        metavar="M",
        help="of this invocation; 0 is without end (default: %(default)s)",
    )
    parser.add_argument("--list", action="store_true", help="say what would be done and what is done, and do nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
