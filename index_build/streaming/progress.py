"""How far a long step has come, how fast it goes, and when it will be done."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TimeRemainingColumn
from rich.text import Text

from holdfast.console import Console, Progress, TextColumn


class RateColumn(ProgressColumn):
    """Images a second."""

    def render(self, task: Task) -> Text:
        """As "1,234/s"; nothing before there is a rate."""
        speed = task.finished_speed or task.speed
        return Text("" if not speed else f"{speed:,.0f}/s")


@contextmanager
def progress(name: str, total: int, *, quiet: bool, done: int = 0) -> Iterator[Callable[[int], None]]:
    """A bar on stderr; what is yielded is called with numbers of images that are done.

    Args:
        name: of the step.
        total: images.
        quiet: no bar.
        done: images that were done by an earlier run.

    """
    columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as shown:
        task = shown.add_task(name, total=total, completed=done)
        yield lambda images: shown.advance(task, images)
