"""The command line that all reproductions share: a scale, where the data lies, where results go, and slices of time."""

import argparse
import math
import shlex
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter as clock
from typing import Generic, Protocol, TypeVar

from holdfast.console import Console
from holdfast.exit_status import GOES_ON, exit_status, explain_statuses
from holdfast.flags import number_in


class Scale(Protocol):
    """How large a reproduction is."""

    @property
    def name(self) -> str:
        """As typed after --scale."""

    @property
    def about(self) -> str:
        """What it takes and how long, for --help."""


ScaleT = TypeVar("ScaleT", bound=Scale)


@dataclass(frozen=True)
class Invocation(Generic[ScaleT]):
    """One call of a reproduction.

    Attributes:
        scale: how large.
        out: where everything goes.
        data_dir: where the labelled sets lie; None where they are fetched or need no directory.
        deadline: value of `time.perf_counter` at which to pause; infinite without --minutes.
        command: as a person types it again.
        console: where progress and results go.

    """

    scale: ScaleT
    out: Path
    data_dir: Path | None
    deadline: float
    command: str
    console: Console


def run_reproduction(
    name: str,
    about: str,
    scales: Mapping[str, ScaleT],
    run: Callable[[Invocation[ScaleT]], None],
    arguments: Sequence[str] | None = None,
) -> int:
    """Parse the command line of `python -m reproduce.NAME` and run it; returns the exit status.

    Args:
        name: of the reproduction; its results go to runs/NAME-SCALE unless --out says otherwise.
        about: what it does, for --help.
        scales: by name; "small" is the default where there is one, else the first.
        run: does all; what an earlier call has done, it reads. Raises TimeUpError at the deadline.
        arguments: instead of the process's.

    """
    begun = clock()
    program = f"reproduce.{name}"
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    flags = _parser(program, about, scales).parse_args(arguments)
    call = Invocation(
        scale=scales[flags.scale],
        out=flags.out or Path("runs") / f"{name}-{flags.scale}",
        data_dir=flags.data_dir,
        deadline=begun + 60 * (flags.minutes or math.inf),
        command=shlex.join(["python", "-m", program, *arguments]),
        console=Console(),
    )
    return exit_status(program, lambda: run(call), again=GOES_ON)


def _parser(program: str, about: str, scales: Mapping[str, ScaleT]) -> argparse.ArgumentParser:
    paragraphs = [
        about,
        "The same command goes on after an interruption.",
        *(f"--scale {s.name}: {s.about}" for s in scales.values()),
    ]
    parser = argparse.ArgumentParser(
        f"python -m {program}",
        description="\n\n".join(textwrap.fill(paragraph, 100) for paragraph in paragraphs),
        epilog=explain_statuses(0, 1, 2, 75, 130, 143),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = "small" if "small" in scales else next(iter(scales))
    parser.add_argument("--scale", choices=scales, default=default, help="how large (%(default)s)")
    parser.add_argument("--data-dir", type=Path, help="where the labelled set lies, for instance cifar-10-batches-bin/")
    parser.add_argument("--out", type=Path, help="where everything goes (runs/NAME-SCALE)")
    parser.add_argument(
        "--minutes", type=number_in(0), default=0.0, help="pause after so many, with exit status 75; 0 does not pause"
    )
    return parser
