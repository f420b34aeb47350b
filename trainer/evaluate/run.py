"""What every part of a full evaluation needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from rich.progress import Progress

from trainer.evaluate.outlook import Outlook, told_time
from trainer.evaluate.scene import Scene
from trainer.evaluate.settings import Settings
from trainer.evaluate.work import Work

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

    """

    scene: Scene
    settings: Settings
    work: Work
    outlook: Outlook
    progress: Progress | None = None

    def say(self, line: str) -> None:
        """What has come out, for those who read a log and see no bar."""
        if self.progress is not None:
            told = f"{line}; {told_time(self.outlook.seconds_left)}"
            self.progress.console.print(told, markup=False, highlight=False, soft_wrap=True)

    def once(self, name: str, kind: type[T], compute: Callable[[], T]) -> T:
        """As `Work.once`, and tells the outlook."""
        done = self.work.has(name)
        result = self.work.once(name, kind, compute)
        if done:
            self.outlook.close(name)
        else:
            self.outlook.finish(name)
        return result
