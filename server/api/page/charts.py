"""Where the marks of the page's charts lie. Templates draw them as SVG, in the colours of the style sheet."""

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.bundle.threat_model import format_epsilon
from holdfast.server.monitor.page.histograms import BinnedCounts
from holdfast.server.monitor.page.traffic import FlipRateFigure

WIDTH, HEIGHT = 360.0, 170.0
LEFT, RIGHT, TOP, BOTTOM = 8.0, 8.0, 18.0, 26.0
FLIP_LEFT = 38.0

APART = 7.0
"""Between points of several attacks at one epsilon."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle, and what it says."""

    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis, and what is written there."""

    place: float
    text: str


@dataclass(frozen=True, slots=True)
class BarPlot:
    """Bars over an axis, and marks across it."""

    bars: Sequence[Bar]
    ticks: Sequence[Tick]
    marks: Sequence[Tick]


@dataclass(frozen=True, slots=True)
class FlipPoint:
    """A flip rate with its interval, as places."""

    series: int
    x: float
    y: float
    low: float
    high: float
    text: str


@dataclass(frozen=True, slots=True)
class FlipPlot:
    """Flip rates over epsilon: points and the lines through those of one attack, the attacks' names in order, and both axes."""

    points: Sequence[FlipPoint]
    lines: Sequence[str]
    names: Sequence[str]
    epsilons: Sequence[Tick]
    rates: Sequence[Tick]


def bars_of(counted: BinnedCounts, marks: Sequence[tuple[float, str]] = ()) -> BarPlot:
    """A histogram; `marks` are values with what is written beside them."""
    edges, most = counted.edges, max(*counted.counts, 1)
    low, high = edges[0], edges[-1]

    def place(value: float) -> float:
        return LEFT + (min(max(value, low), high) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    room = HEIGHT - TOP - BOTTOM
    bars = [
        Bar(
            place(edges[i]) + 0.75,
            TOP + room * (1 - count / most),
            place(edges[i + 1]) - place(edges[i]) - 1.5,
            room * count / most,
            f"{edges[i]:g} to {edges[i + 1]:g}: {count:,}",
        )
        for i, count in enumerate(counted.counts)
        if count
    ]
    ticks = [Tick(place(edge), f"{edge:g}") for edge in _few(edges)]
    return BarPlot(bars, ticks, [Tick(place(value), text) for value, text in marks if low <= value <= high])


def _few(edges: Sequence[float], most: int = 6) -> Sequence[float]:
    """Some of the edges, evenly spaced, with 0 where it is one."""
    every = -(-(len(edges) - 1) // most)
    zero = next((i for i, edge in enumerate(edges) if abs(edge) < 1e-9), 0)
    return [edges[i] for i in range(zero % every, len(edges), every)]


def flip_plot(flips: Sequence[FlipRateFigure]) -> FlipPlot:
    """Every attack's flip rates over epsilon."""
    names = sorted({each.attack for each in flips})
    epsilons = sorted({each.epsilon for each in flips})
    largest, room = max(epsilons, default=1.0), HEIGHT - TOP - BOTTOM

    def across(epsilon: float) -> float:
        return FLIP_LEFT + 14 + epsilon / largest * (WIDTH - FLIP_LEFT - RIGHT - 40)

    def up(rate: float) -> float:
        return TOP + room * (1 - rate)

    points = []
    for each in flips:
        series = names.index(each.attack)
        x = across(each.epsilon) + APART * (series - (len(names) - 1) / 2)
        text = (
            f"{each.attack} at {format_epsilon(each.epsilon)}: {100 * each.estimate:.1f} %"
            f" ({100 * each.low:.1f} to {100 * each.high:.1f}), {each.probes:,} probes"
        )
        points.append(FlipPoint(series, x, up(each.estimate), up(each.low), up(each.high), text))
    lines = [
        " ".join(f"{point.x:.1f},{point.y:.1f}" for point in points if point.series == series) for series in range(len(names))
    ]
    return FlipPlot(
        points,
        lines,
        names,
        [Tick(across(epsilon), format_epsilon(epsilon)) for epsilon in epsilons],
        [Tick(up(rate / 100), f"{rate} %") for rate in (0, 25, 50, 75, 100)],
    )
