"""Rates and tables as they are pasted into a page."""

from collections.abc import Sequence

from holdfast.intervals import Rate


def percent(rate: Rate) -> str:
    """As in "52.0 [46.3, 57.6]", percent with its 95 % Wilson interval."""
    low, high = rate.interval
    return f"{100 * rate.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def grid(headings: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = True) -> str:
    """A table in Markdown; all columns but the first are aligned as numbers are, unless told otherwise."""
    rest = "---:" if numbers else "---"
    lines = [headings, ["---", *[rest] * (len(headings) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
