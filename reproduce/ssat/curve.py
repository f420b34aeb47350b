"""The trade-off curve of the paper: clean accuracy against DSR, one panel for each attack and ball."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import cos, hypot, pi, sin
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from demo.picture import FAINT, INK, PAPER, QUIET
from holdfast.bundle.threat_model import ThreatModel
from holdfast.files import replace_atomically
from holdfast.intervals import Rate
from reproduce.ssat.results import ATTACKS, TITLES, AttackName
from reproduce.ssat.rows import ADVERSARIAL, AMDIM, DEACL, LABEL_FREE, SUPERVISED, guided_name
from reproduce.ssat.tables import TableResults

GUIDED_COLOR = "#0969da"
COLORS = {SUPERVISED: "#bf8700", ADVERSARIAL: "#cf222e", AMDIM: INK, LABEL_FREE: "#1a7f37", DEACL: "#8250df"}
MARKERS = {SUPERVISED: "s", ADVERSARIAL: "D", AMDIM: "o", LABEL_FREE: "^", DEACL: "v"}
NAMES = {"cifar10": "CIFAR-10"}
DPI, WIDTH, HEIGHT, HEAD, FOOT = 150, 6.2, 4.6, 1.15, 0.55
LABEL, GAP = 9, 14

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""

REACHES = (1.0, 1.8, 2.8, 4.0, 5.5, 7.5, 10.0)
EIGHTHS = (1, 7, 3, 5, 2, 6, 0, 4)
"""Directions in the order of preference: the diagonal ones first, as error bars lie along the others."""


@dataclass(frozen=True)
class Point:
    """One row in one panel: its rates, and how it is drawn."""

    label: str
    clean: Rate
    dsr: Rate
    color: str
    marker: str

    @property
    def at(self) -> tuple[float, float]:
        """In percent."""
        return 100 * self.clean.value, 100 * self.dsr.value


def draw(path: Path, result: TableResults) -> None:
    """Write the PNG: a column for each attack, a row for each ball."""
    balls = result.scale.balls
    height = HEIGHT * len(balls) + HEAD + FOOT
    with mpl.rc_context({"font.size": 10, "text.parse_math": False, "axes.edgecolor": QUIET}):
        figure = Figure(figsize=(WIDTH * len(ATTACKS), height), dpi=DPI, facecolor=PAPER)
        canvas = FigureCanvasAgg(figure)
        grid = figure.subplots(len(balls), len(ATTACKS), sharex=True, sharey=True, squeeze=False)
        figure.subplots_adjust(0.065, FOOT / height, 0.985, 1 - HEAD / height, wspace=0.05, hspace=0.14)
        _header(figure, result)
        panels = [(axes, a, b) for row, b in zip(grid, balls, strict=True) for axes, a in zip(row, ATTACKS, strict=True)]
        points = [points_of(result, attack, ball) for _, attack, ball in panels]
        _limits(grid[0, 0], [point for panel in points for point in panel])
        for (axes, attack, ball), panel in zip(panels, points, strict=True):
            _panel(axes, f"{TITLES[attack]}, {ball}", panel)
        for axes in grid[-1]:
            axes.set_xlabel("clean accuracy, %", color=QUIET)
        for axes in grid[:, 0]:
            axes.set_ylabel("DSR, %", color=QUIET)
        canvas.draw()  # type: ignore[no-untyped-call]  # only now is it known where points lie in pixels
        for (axes, _, _), panel in zip(panels, points, strict=True):
            _labels(axes, panel)
        with replace_atomically(path) as temporary:
            figure.savefig(temporary, metadata={"Software": None})


def points_of(result: TableResults, attack: AttackName, ball: ThreatModel) -> list[Point]:
    """All rows: the checkpoints of guided SSAT first, in order."""
    guided = {guided_name(step): f"{step} steps" for step in result.scale.checkpoints}
    last = guided_name(result.scale.checkpoints[-1])
    points = []
    for run in sorted(result.runs, key=lambda run: run.name not in guided):
        row = result.rows[run.name]
        label = guided.get(run.name, run.title)
        if run.name == last:
            label = f"SSAT guided, {label}"
        color, marker = COLORS.get(run.name, GUIDED_COLOR), MARKERS.get(run.name, "o")
        points.append(Point(label, row.clean.rate, row.under(attack, ball).dsr, color, marker))
    return points


def _header(figure: Figure, result: TableResults) -> None:
    height = figure.get_size_inches()[1]
    title = f"Clean accuracy against defence success rate, {NAMES.get(result.scale.data, result.scale.data)}"
    subtitle = (
        f"scale {result.scale.name}: the same encoder, exemplars, vote (k = {result.scale.k}) and"
        f" {result.attacked_images:,} attacked images for every row; bars: 95 % Wilson intervals"
    )
    figure.text(0.065, 1 - 0.32 / height, title, fontsize=15, weight="bold", color=INK, va="center")
    figure.text(0.065, 1 - 0.62 / height, subtitle, fontsize=10, color=QUIET, va="center")


def _limits(axes: Axes, points: Iterable[Point]) -> None:
    """For all panels, which share them: room on either side for labels."""
    lows, highs = zip(*(point.clean.interval for point in points), strict=True)
    low, high = 100 * min(lows), 100 * max(highs)
    room = 0.12 * max(high - low, 5)
    axes.set_xlim(max(-2, low - room), min(102, high + room))
    axes.set_ylim(-6, 106)


def _panel(axes: Axes, title: str, points: list[Point]) -> None:
    axes.set_title(title, fontsize=11, color=INK, loc="left")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=QUIET, length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    guided = [point.at for point in points if point.color == GUIDED_COLOR]
    axes.plot(*zip(*guided, strict=True), color=GUIDED_COLOR, linewidth=1.6, zorder=2)
    for point in points:
        x, y = point.at
        xerr, yerr = ([[100 * (r.value - r.interval[0])], [100 * (r.interval[1] - r.value)]] for r in (point.clean, point.dsr))
        axes.errorbar(x, y, yerr, xerr, color=point.color, alpha=0.35, linewidth=1.2, zorder=1)
        axes.plot(x, y, point.marker, color=point.color, markersize=6.5, markeredgecolor=PAPER, markeredgewidth=0.8, zorder=3)


def _labels(axes: Axes, points: list[Point]) -> None:
    """The names, a thin line leading from each that does not stand right beside its point."""
    at = [tuple(axes.transData.transform(point.at)) for point in points]
    sizes = [_size(axes, point.label) for point in points]
    frame = axes.get_window_extent()
    guided = [where for where, point in zip(at, points, strict=True) if point.color == GUIDED_COLOR]
    boxes = place_labels(at, sizes, (frame.x0, frame.y0, frame.x1, frame.y1), GAP, list(_along(guided)))
    for point, (x, y), (left, bottom, right, top) in zip(points, at, boxes, strict=True):
        near = min(max(x, left), right), min(max(y, bottom), top)
        if hypot(near[0] - x, near[1] - y) > 1.2 * GAP:
            ends = [axes.transData.inverted().transform(end) for end in ((x, y), near)]
            axes.plot(*zip(*ends, strict=True), color=point.color, linewidth=0.6, alpha=0.6, zorder=2)
        corner = axes.transData.inverted().transform((left, bottom))
        text = axes.text(corner[0], corner[1], point.label, color=point.color, fontsize=LABEL, va="bottom", zorder=4)
        text.set_path_effects([withStroke(linewidth=2.5, foreground=PAPER)])


def _along(points: Sequence[tuple[float, float]]) -> Iterator[Box]:
    """Small boxes that follow a line from point to point."""
    for (x0, y0), (x1, y1) in pairwise(points):
        steps = max(1, round(hypot(x1 - x0, y1 - y0) / 8))
        for step in range(steps):
            x, y = x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps
            yield x - 3, y - 3, x + 3, y + 3


def _size(axes: Axes, words: str) -> tuple[float, float]:
    """Width and height in pixels."""
    text = axes.text(0, 0, words, fontsize=LABEL)
    box = text.get_window_extent()
    text.remove()
    return box.width, box.height


def place_labels(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    frame: Box,
    gap: float,
    others: Iterable[Box] = (),
) -> list[Box]:
    """A box for the words of each point, chosen in order, each as near as it goes.

    Args:
        points: where they are.
        sizes: width and height of the words.
        frame: within which words should stay.
        gap: from a point to the nearest words; points are so wide for the words of others.
        others: what else should not be covered.

    Returns:
        The boxes. Where there is no free place the one that covers the least of what is there.

    """
    taken = [(x - gap / 2, y - gap / 2, x + gap / 2, y + gap / 2) for x, y in points]
    taken += others
    placed: list[Box] = []
    for point, size in zip(points, sizes, strict=True):
        best = min(_around(point, size, gap), key=lambda box: _cost(box, [*taken, *placed], frame))
        placed.append(best)
    return placed


def _around(point: tuple[float, float], size: tuple[float, float], gap: float) -> Iterator[Box]:
    """Boxes around a point, the nearest first; each touches the end of a line from the point with its own near side."""
    width, height = size
    for reach in REACHES:
        for eighth in EIGHTHS:
            across, up = cos(eighth * pi / 4), sin(eighth * pi / 4)
            left = point[0] + reach * gap * across - width * (1 - _sign(across)) / 2
            bottom = point[1] + reach * gap * up - height * (1 - _sign(up)) / 2
            yield left, bottom, left + width, bottom + height


def _cost(box: Box, others: Iterable[Box], frame: Box) -> float:
    """Area that is covered twice, and ten times the area outside the frame."""
    area = (box[2] - box[0]) * (box[3] - box[1])
    return sum(_common(box, other) for other in others) + 10 * (area - _common(box, frame))


def _common(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def _sign(value: float) -> int:
    return 0 if abs(value) < 1e-9 else 1 if value > 0 else -1
