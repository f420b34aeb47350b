"""The table on a terminal and in Markdown."""

from collections.abc import Sequence

from bench.peers.report.results import PeerResults
from bench.peers.report.summary import PeerRow, rows_of, targets_of
from bench.peers.table import BY_NAME

COLUMNS = (
    "server",
    "CPU, us a request",
    "holdfast's, by it",
    "requests/s",
    "p50 / p99 of one caller, ms",
    "p50 / p99 of 64, ms",
    "goodput at 200 %",
    "memory, MB",
    "start, s",
)


def cells(row: PeerRow) -> list[str]:
    """One row, in the order of COLUMNS."""
    return [
        row.title,
        f"{row.cpu:,.0f}",
        str(row.ratio) if row.ratio else "",
        f"{row.capacity:,.0f}",
        f"{row.p50_alone:.1f} / {row.p99_alone:.1f}",
        f"{row.p50:.0f} / {row.p99:.0f}",
        f"{row.goodput:.0%}",
        f"{row.pss / 1e6:.0f}",
        f"{row.start:.1f}",
    ]


def markdown(results: PeerResults) -> str:
    """The table, what was promised, and what is missing."""
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS)), *(_line(cells(row)) for row in rows_of(results))]
    lines += ["", *(f"- {target}" for target in targets_of(results))]
    lines += [f"- {BY_NAME[name].title} was not measured: {reason}" for name, reason in results.missing.items()]
    return "\n".join(lines) + "\n"


def _line(values: Sequence[str]) -> str:
    return f"| {' | '.join(values)} |"
