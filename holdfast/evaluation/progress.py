"""How long a long evaluation will still take, estimated by the cost of what is left, not by the number of attacks."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.progress import TaskID

from holdfast.console import Progress

Clock = Callable[[], float]


@dataclass
class ProgressEstimate:
    """What is left, in forward passes of the encoder, and how fast they go.

    Costs are upper bounds: which images will be fooled on the way is only known afterwards. So the estimated time is an
    upper bound too, and shrinks faster than the clock runs.

    Attributes:
        left: forward passes still to be made, by the name of each part.
        progress: where to show it; nowhere without.
        pass_seconds: of a forward pass of one image, as long as nothing else was measured; 0 where that is not known.
        clock: seconds that only grow.

    """

    left: dict[str, float]
    progress: Progress | None = None
    pass_seconds: float = 0.0
    clock: Clock = time.monotonic
    _spent: float = 0.0
    _began: float = field(init=False)
    _task: TaskID | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._began = self.clock()
        if self.progress is not None:
            self._task = self.progress.add_task("whole evaluation", total=None)

    @property
    def seconds_left(self) -> float | None:
        """At most about so many, at the speed so far; None before anything was measured."""
        left = sum(self.left.values())
        if self._spent > 0:
            return left * (self.clock() - self._began) / self._spent
        return left * self.pass_seconds if self.pass_seconds else None

    def spend(self, part: str, cost: float, left: float) -> None:
        """`cost` forward passes of `part` were made, at most `left` are to come."""
        self._spent += cost
        self.left[part] = left
        self.show(part)

    def finish(self, part: str) -> None:
        """`part` was done at one go."""
        self.spend(part, self.left.get(part, 0.0), 0.0)
        self.close(part)

    def close(self, part: str) -> None:
        """Nothing of `part` is left to do; what was not spent was done by an earlier run, or saved."""
        self.left[part] = 0.0
        self.show(part)
        if self.progress is not None:
            for task in self.progress.task_ids:
                if task != self._task:
                    self.progress.remove_task(task)

    def expect(self, part: str, cost: float) -> None:
        """`part`, not begun yet, will cost less than was thought."""
        self.left[part] = min(self.left[part], cost)

    def show(self, part: str) -> None:
        """Move the bar."""
        if self.progress is None or self._task is None:
            return
        left = sum(self.left.values())
        description = f"whole evaluation, at {part}: {format_time_left(self.seconds_left)}"
        self.progress.update(self._task, total=self._spent + left, completed=self._spent, description=description)


def format_time_left(seconds: float | None) -> str:
    """As a person says it: "at most about 2 h 10 min left"."""
    if seconds is None:
        return "time left not known yet"
    minutes = round(seconds / 60)
    if minutes < 1:
        return "at most about a minute left"
    hours, minutes = divmod(minutes, 60)
    words = [f"{hours} h"] * (hours > 0) + [f"{minutes} min"] * (minutes > 0)
    return f"at most about {' '.join(words)} left"
