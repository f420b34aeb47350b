"""What every part of a full evaluation needs."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic as clock
from typing import TypeVar

from rich.progress import Progress

from holdfast.evaluation.cache import Work
from holdfast.evaluation.context import EvaluationContext
from holdfast.evaluation.progress import ProgressEstimate, told_time
from holdfast.evaluation.settings import Settings
from holdfast.interrupts import TimeUpError

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Run:
    """A full evaluation under way.

    Attributes:
        scene: who is attacked with what.
        settings: what was asked for.
        work: what is done already.
        outlook: what is left.
        progress: where to show it; nowhere without.
        until: what `time.monotonic` says when the time is over.

    """

    scene: EvaluationContext
    settings: Settings
    work: Work
    outlook: ProgressEstimate
    progress: Progress | None = None
    until: float = math.inf

    def rest(self, part: str) -> None:
        """Stop here, within `part`, if the time is over. Asked only after some new work, or slices could do none at all.

        Raises:
            TimeUpError: it is.

        """
        if clock() >= self.until:
            raise TimeUpError(f"the minutes are over, at {part}")

    def say(self, line: str) -> None:
        """What has come out, for those who read a log and see no bar."""
        if self.progress is not None:
            told = f"{line}; {told_time(self.outlook.seconds_left)}"
            self.progress.console.print(told, markup=False, highlight=False, soft_wrap=True)

    def once(self, name: str, kind: type[T], compute: Callable[[], T]) -> T:
        """As `Work.once`, and tells the outlook. Raises TimeUpError where it was computed, and the time is over."""
        done = self.work.has(name)
        result = self.work.once(name, kind, compute)
        if done:
            self.outlook.close(name)
        else:
            self.outlook.finish(name)
            self.rest(name)
        return result
