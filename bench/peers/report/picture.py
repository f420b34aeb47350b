"""CPU a request of every server as bars: the work that all of them have in common, and what serving it costs on top."""

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
    figure = Figure(figsize=(5.6 * max(1, len(measured)), 4.2), dpi=120, layout="constrained")
    panels = figure.subplots(1, max(1, len(measured)), squeeze=False)[0]
    for axes, (name, results) in zip(panels, measured.items(), strict=False):
        _bars(axes, name, results)
    figure.savefig(path, format="png", metadata={"Software": None})


def _bars(axes: Axes, name: str, results: PeerResults) -> None:
    rows = sorted(rows_of(results), key=lambda row: row.cpu)
    for height, row in enumerate(rows):
        colour = COLOURS["holdfast" if row.ratio is None else row.transport]
        axes.barh(height, row.cpu, height=0.7, color=colour)
        axes.text(row.cpu, height, f" {row.cpu:,.0f}", va="center", color=INK, fontsize=9)
    if pairs := results.pairs.get(ECHO.name):
        work = statistics.median(pair["parts"]["decode"] + pair["parts"]["classify"] for pair in pairs)
        axes.axvline(work, color=WORK, linewidth=1.5)
        axes.text(work, len(rows) - 0.45, " decode, embed, search, vote", color=WORK, fontsize=9, va="bottom")
    axes.set_yticks(range(len(rows)), [row.title for row in rows])
    axes.invert_yaxis()
    axes.set_xmargin(0.15)
    axes.set_title(
        f"{name}: CPU, microseconds a request\n(blue: holdfast; dark: gRPC; light: HTTP)", loc="left", fontsize=10, pad=18
    )
    axes.spines[["top", "right"]].set_visible(False)
