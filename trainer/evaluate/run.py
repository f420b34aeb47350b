"""What every part of a full evaluation needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from rich.progress import Progress

from trainer.evaluate.outlook import Outlook
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

    def once(self, name: str, kind: type[T], compute: Callable[[], T]) -> T:
        """As `Work.once`, and tells the outlook."""
        done = self.work.has(name)
        result = self.work.once(name, kind, compute)
        if done:
            self.outlook.close(name)
        else:
            self.outlook.finish(name)
        return result
