"""What the detectors cost: CPU of one server with them and of one without, asked the same in turns."""

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.harness.callers import run_callers
from bench.harness.report import Spread
from bench.harness.server_process import running_server
from holdfast.model.preprocess import Pixels

WARM_SECONDS = 3.0


@dataclass(frozen=True)
class Price:
    """CPU microseconds of the server for each image, in turns.

    Attributes:
        callers: that asked at a time, one image a call.
        watched, blind: with detectors and without.

    """

    callers: int
    watched: tuple[float, ...]
    blind: tuple[float, ...]

    @property
    def share(self) -> float:
        """What the detectors add, as a share of the rest: the median of the turns."""
        return statistics.median(a / b - 1 for a, b in zip(self.watched, self.blind, strict=True))

    def __str__(self) -> str:
        return f"{Spread.of(self.watched)} with, {Spread.of(self.blind)} without: {100 * self.share:+.1f} %"


def measure_price(bundle: Path, images: Pixels, *, callers: int, seconds: float, turns: int) -> Price:
    """Asks different images, since identical ones cost a detector less than others do."""
    watched: list[float] = []
    blind: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        pixels = Path(folder) / "pixels.npy"
        np.save(pixels, images)
        flags = ("--callers", callers, "--seconds", seconds, "--pixels", pixels)
        with running_server(bundle) as with_detectors, running_server(bundle, "--no-detectors") as without:
            for server in (with_detectors, without):  # what is done once for a bundle takes a second of CPU
                run_callers(server, "--callers", callers, "--seconds", WARM_SECONDS, "--pixels", pixels)
            for turn in range(turns):
                pair = ((with_detectors, watched), (without, blind))
                for server, costs in pair if turn % 2 else reversed(pair):
                    costs.append(run_callers(server, *flags).server_cpu)
    return Price(callers, tuple(watched), tuple(blind))
