"""python -m reproduce.ssat: train, attack and judge every row of the paper's table."""

import argparse
import shlex
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from holdfast import data
from holdfast.console import Console
from holdfast.exit_status import GOES_ON, exit_status, explain_statuses
from holdfast.flags import whole_number
from holdfast.trainer.encoders import fitting_of
from reproduce.ssat.pipeline import Pipeline
from reproduce.ssat.scales import SCALES, SMALL, TableScale


def description() -> str:
    """For --help: what happens, and how long each scale takes."""
    about = ["Train, attack and judge every row of the paper's table. The same command goes on after an interruption."]
    for scale in SCALES.values():
        each = scale.index_minutes + scale.attack_minutes
        about.append(
            f"--scale {scale.name}: {scale.about}. Expected: {sum(scale.minutes.values()):.0f} minutes of training, then"
            f" {scale.rows} rows of {each:g} minutes to index and attack; {scale.expected_minutes:.0f} minutes in all."
        )
    return "\n\n".join(textwrap.fill(paragraph, 100) for paragraph in about)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        "python -m reproduce.ssat",
        description=description(),
        epilog=explain_statuses(0, 1, 2, 130, 143),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--scale", choices=SCALES, default=SMALL.name, help="how large (%(default)s)")
    parser.add_argument("--data-dir", type=Path, help="where cifar-10-batches-bin/ lies; else CIFAR-10 is downloaded")
    parser.add_argument("--out", type=Path, help="where everything goes (runs/paper-SCALE)")
    parser.add_argument("--images", type=whole_number(1), help="test images to attack (300 small, 1000 paper)")
    parser.add_argument("--amdim", type=Path, metavar="RUN", help="a finished run of the same AMDIM training, to take it from")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    flags = parser.parse_args(arguments)
    scale: TableScale = SCALES[flags.scale]
    if flags.images is not None:
        scale = replace(scale, images=flags.images)
    out = flags.out or Path("runs") / f"paper-{scale.name}"
    command = shlex.join(["python", "-m", "reproduce.ssat", *arguments])

    def reproduce() -> None:
        splits = data.load(scale.data, directory=flags.data_dir, size=fitting_of(scale.encoder))
        Pipeline(scale, out, splits, command, Console(), data_dir=flags.data_dir, amdim=flags.amdim).run()

    return exit_status("reproduce.ssat", reproduce, again=GOES_ON)
