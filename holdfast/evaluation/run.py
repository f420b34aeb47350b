"""An evaluation under way: what every section of it needs."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic as clock
from typing import TypeVar

from holdfast.console import Progress, counted
from holdfast.evaluation.cache import ResultCache
from holdfast.evaluation.context import EvaluationContext
from holdfast.evaluation.plan import EvaluationPlan
from holdfast.evaluation.progress import ProgressEstimate, format_time_left
from holdfast.interrupts import TimeUpError

T = TypeVar("T")

LONG_S = 300.0
"""What may take longer is announced. Most attacks end far sooner than they might, as what is fooled is not attacked again."""


@dataclass(frozen=True, eq=False)
class EvaluationRun:
    """An evaluation under way.

    Attributes:
        context: who is attacked with what.
        plan: what is done.
        cache: what is done already.
        estimate: what is left.
        progress: where to show it; nowhere without.
        until: what `time.monotonic` says when the time is over.

    """

    context: EvaluationContext
    plan: EvaluationPlan
    cache: ResultCache
    estimate: ProgressEstimate
    progress: Progress | None = None
    until: float = math.inf

    def check_deadline(self, part: str) -> None:
        """Stop here, within `part`, if the time is over. Asked only after some new work, or slices could do none at all.

        Raises:
            TimeUpError: it is.

        """
        if clock() >= self.until:
            raise TimeUpError(f"the minutes are over, at {part}")

    def print_line(self, line: str) -> None:
        """What has come out, for those who read a log and see no bar. Where there is but one part, its result says it all."""
        if self.progress is not None and len(self.estimate.left) > 1:
            text = f"{line}; {format_time_left(self.estimate.seconds_left)}"
            self.progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def announce(self) -> None:
        """Before many minutes of attack: how many images are attacked, how many at once, and for how long at most."""
        seconds, images = self.estimate.seconds_left, self.context.images
        if self.progress is None or seconds is None or seconds < LONG_S:
            return
        size = f"{images.shape[2]} x {images.shape[1]}"
        at_once = min(len(images), self.plan.effort.batch_size)
        line = f"{counted(len(images), 'image')} of {size}, {at_once} at once; {format_time_left(seconds)}"
        self.progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def once(self, name: str, kind: type[T], compute: Callable[[], T]) -> T:
        """As `ResultCache.once`, and tells the estimate. Raises TimeUpError where it was computed and the time is over."""
        done = self.cache.has(name)
        result = self.cache.once(name, kind, compute)
        if done:
            self.estimate.close(name)
        else:
            self.estimate.finish(name)
            self.check_deadline(name)
        return result
