"""The terminal, by rich: colours, tables and progress bars, and every text printed letter by letter.

rich takes brackets for markup ("[red]"), colons for emoji (":cat:") and colours numbers, in texts that hold the names of files,
folders and classes as well. Names are a user's: here they stay as they are. Styled text is a `rich.text.Text`.
"""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from rich import console as rich_console
from rich import progress as rich_progress
from rich.status import Status
from rich.table import Table
from rich.text import Text

Item = TypeVar("Item")


class Console(rich_console.Console):  # noqa: TID251 - the one place
    """rich's console that neither interprets nor breaks a line of text: a path that is printed can be copied."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False} | options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does; lines of plain text are left to the terminal to wrap."""
        options.setdefault("soft_wrap", all(isinstance(each, str) for each in objects))
        super().print(*objects, **options)

    def status(self, status: Any, **options: Any) -> Status:
        """A spinner beside a text, for as long as it takes."""
        return super().status(Text(status) if isinstance(status, str) else status, **options)


class TextColumn(rich_progress.TextColumn):  # noqa: TID251 - the one place
    """A column of a progress bar, such as "{task.description}"."""

    def __init__(self, text_format: str, **options: Any) -> None:
        super().__init__(text_format, **{"markup": False} | options)


class Progress(rich_progress.Progress):  # noqa: TID251 - the one place
    """rich's progress bars."""

    def __init__(self, *columns: str | rich_progress.ProgressColumn, console: Console | None = None, **options: Any) -> None:
        super().__init__(*columns, console=console or Console(), **options)

    @classmethod
    def get_default_columns(cls) -> tuple[rich_progress.ProgressColumn, ...]:
        """Description, bar, share done, time left."""
        return (
            TextColumn("{task.description}", style="progress.description"),
            rich_progress.BarColumn(),
            rich_progress.TaskProgressColumn(),
            rich_progress.TimeRemainingColumn(),
        )


def counted(number: int, one: str, many: str = "") -> str:
    """A number and what there is so many of: "1 file", "1,204 files"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def property_table(title: str | None = None) -> Table:
    """A table of names and values, a property a row; a value that is too long is broken, and nothing of it is left out."""
    table = Table(title=title, show_header=False, title_justify="left")
    for _ in range(2):
        table.add_column(overflow="fold")
    return table


def track(
    items: Iterable[Item],
    description: str,
    *,
    console: Console | None = None,
    transient: bool = False,
    disable: bool = False,
) -> Iterator[Item]:
    """The items, with a progress bar while they are gone through."""
    with Progress(console=console or Console(), transient=transient, disable=disable) as progress:
        yield from progress.track(items, description=description)
