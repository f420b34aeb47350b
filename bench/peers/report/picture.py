"""CPU a request of every server, beside the work that all of them have in common."""

import statistics
from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.peers.report.results import PeerResults
from bench.peers.report.summary import rows_of
from bench.peers.table import ECHO

COLOURS = {"holdfast": "#0969da", "grpc": "#57606a", "http": "#afb8c1"}
INK, WORK = "#1f2328", "#bf8700"


def draw(path: Path, bundles: Mapping[str, PeerResults]) -> None:
    """Write a PNG with one panel a bundle."""
    measured = {name: results for name, results in bundles.items() if rows_of(results)}
    figure = Figure(figsize=(7.5 * max(1, len(measured)), 4.0), dpi=120, layout="constrained")
    panels = figure.subplots(1, max(1, len(measured)), squeeze=False)[0]
    for axes, (name, results) in zip(panels, measured.items(), strict=False):
        _dots(axes, name, results)
    figure.savefig(path, format="png", metadata={"Software": None})


def _dots(axes: Axes, name: str, results: PeerResults) -> None:
    rows = sorted(rows_of(results), key=lambda row: row.cpu)
    for height, row in enumerate(rows):
        colour = COLOURS["holdfast" if row.ratio is None else row.transport]
        axes.plot(row.cpu, height, "o", color=colour, markersize=9)
        axes.annotate(
            f"{row.cpu:,.0f}", (row.cpu, height), (9, 0), textcoords="offset points", va="center", color=INK, fontsize=9
        )
    if pairs := results.pairs.get(ECHO.name):
        work = statistics.median(pair["parts"]["decode"] + pair["parts"]["classify"] for pair in pairs)
        axes.axvline(work, color=WORK, linewidth=1.5, label="decode, embed, search, vote alone")
        axes.legend(frameon=False, loc="upper right", fontsize=9)
    axes.set_yticks(range(len(rows)), [row.title for row in rows])
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="CPU, microseconds a request (blue: holdfast; dark: gRPC; light: HTTP)")
    axes.set_xmargin(0.15)
    axes.grid(visible=True, axis="y", alpha=0.3)
    axes.set_title(name, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
