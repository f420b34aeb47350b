"""What the detectors cost: CPU and calls a second of a server with them and of one without, asked the same in turns.

A third server, without detectors too, says by how much two of them differ by chance alone.
"""

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.harness.callers import run_callers
from bench.harness.report import Spread
from bench.harness.server_process import running_server
from holdfast.console import track
from holdfast.model.preprocess import Pixels

WARM_SECONDS = 3.0


@dataclass(frozen=True)
class ServerTurns:
    """One server, turn by turn.

    Attributes:
        cpu: microseconds of all its processes for each image.
        rate: calls answered in a second.

    """

    cpu: tuple[float, ...]
    rate: tuple[float, ...]


@dataclass(frozen=True)
class Price:
    """Of a number of callers at a time, with one image a call.

    Attributes:
        callers: that asked.
        watched, blind, control: with detectors, without, and without once more.

    """

    callers: int
    watched: ServerTurns
    blind: ServerTurns
    control: ServerTurns

    @property
    def share(self) -> float:
        """What the detectors add to the CPU, as a share of the rest: the median of the turns."""
        return _more(self.watched.cpu, self.blind.cpu)

    def rows(self) -> list[list[str]]:
        """For the table: the server, its CPU, how much more that is than without, its calls a second, how much more."""
        servers = {"with": self.watched, "without": self.blind, "without again": self.control}
        return [
            [
                name,
                str(Spread.of(each.cpu)),
                f"{_more(each.cpu, self.blind.cpu):+.1%}",
                str(Spread.of(each.rate)),
                f"{_more(each.rate, self.blind.rate):+.1%}",
            ]
            for name, each in servers.items()
        ]


def measure_price(bundle: Path, images: Pixels, *, callers: int, seconds: float, turns: int) -> Price:
    """Asks different images, since identical ones cost a detector less than others do."""
    found: list[tuple[list[float], list[float]]] = [([], []), ([], []), ([], [])]
    with tempfile.TemporaryDirectory() as folder:
        pixels = Path(folder) / "pixels.npy"
        np.save(pixels, images)
        flags = ("--callers", callers, "--pixels", pixels, "--seconds")
        blind = "--no-detectors"
        with running_server(bundle) as first, running_server(bundle, blind) as second, running_server(bundle, blind) as third:
            servers = (first, second, third)
            for server in servers:  # what is done once for a bundle takes a second of CPU
                run_callers(server, *flags, WARM_SECONDS)
            for turn in track(range(turns), description=f"price, {callers} callers"):
                for which in range(3) if turn % 2 else reversed(range(3)):
                    report = run_callers(servers[which], *flags, seconds)
                    (load,) = report.loads
                    found[which][0].append(report.server_cpu)
                    found[which][1].append((load.calls - load.failed) / load.seconds)
    return Price(callers, *(ServerTurns(tuple(cpu), tuple(rate)) for cpu, rate in found))


def _more(values: tuple[float, ...], others: tuple[float, ...]) -> float:
    """By what share the first are more than the second, turn by turn: the median."""
    return statistics.median(a / b - 1 for a, b in zip(values, others, strict=True))
