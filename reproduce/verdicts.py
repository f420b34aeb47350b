"""What a measured difference says to a claim of a paper, and how that is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Any

from rich.table import Table
from rich.text import Text

from holdfast.intervals import Difference
from reproduce.markdown import grid


class Word(StrEnum):
    """What an interval says to a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    OPEN = "not decided"


STYLES = {Word.HOLDS: "green", Word.FAILS: "red", Word.OPEN: "yellow"}


def judge(found: Difference, margin: float) -> Word:
    """Whether the 95 % interval lies on one side of the margin, and on which."""
    if found.low > margin:
        return Word.HOLDS
    return Word.FAILS if found.high < margin else Word.OPEN


def together(words: Sequence[Word]) -> Word:
    """Of a claim with several parts: it fails where one part fails, and holds where all hold."""
    if Word.FAILS in words:
        return Word.FAILS
    return Word.HOLDS if words and set(words) == {Word.HOLDS} else Word.OPEN


@dataclass(frozen=True)
class Finding:
    """A claim, and the difference that was measured for it.

    Attributes:
        claim: in words, as something that exceeds something else.
        published: the figures that it rests on; "-" where there are none.
        measured: what was compared, in words: "kNN accuracy, paired over 10,000 test images".
        difference: of the side that is said to be ahead less the other.
        margin: what the difference must exceed; negative where it may be behind a little.

    """

    claim: str
    published: str
    measured: str
    difference: Difference
    margin: float = 0.0

    @property
    def word(self) -> Word:
        """The verdict."""
        return judge(self.difference, self.margin)

    def described(self) -> dict[str, Any]:
        """For a JSON file: numbers that are not finite are None."""
        numbers = self.difference.low, self.difference.high
        estimate = self.difference.estimate
        return {
            "claim": self.claim,
            "published": self.published,
            "measured": self.measured,
            "difference": estimate if isfinite(estimate) else None,
            "interval": [number if isfinite(number) else None for number in numbers],
            "margin": self.margin,
            "verdict": self.word,
        }


HEADINGS = ("claim", "published", "measured", "difference", "verdict")


def findings_table(findings: Sequence[Finding]) -> Table:
    """For the terminal: a row for each claim."""
    shown = Table(title="claims", title_justify="left", show_lines=True)
    for heading in HEADINGS:
        shown.add_column(heading)
    for finding in findings:
        cells = _cells(finding)
        shown.add_row(*map(Text, cells[:-1]), Text(cells[-1], STYLES[finding.word]))
    return shown


def findings_markdown(findings: Sequence[Finding]) -> str:
    """To paste into a page: the same table."""
    rows = [(*cells[:-1], f"**{cells[-1]}**") for cells in map(_cells, findings)]
    return grid(HEADINGS, rows, numbers=False)


def _cells(finding: Finding) -> tuple[str, ...]:
    beyond = "" if finding.margin == 0 else f", to exceed {100 * finding.margin:+g}"
    return finding.claim, finding.published, finding.measured, f"{finding.difference}{beyond}", str(finding.word)
