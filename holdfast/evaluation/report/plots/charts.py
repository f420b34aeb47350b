"""The plots of a report, each an <svg> element of its own, so that a page can set them beside or below each other."""

from collections.abc import Sequence
from math import sqrt

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from holdfast.bundle.threat_model import Norm
from holdfast.evaluation.report.plots.svg import INK, QUIET, SERIES, inline, looks, panel, percent_axis
from holdfast.evaluation.report.results import Bin, Curve, Measured, ThreatResult, TrainingCurve
from holdfast.evaluation.report.words import level, plain_norm
from holdfast.intervals import Rate

WIDTH, HEIGHT = 460, 310
SMALL = 300, 190
MARKS = {"bank known": "D", "bank unknown": "s"}


def accuracy(norm: Norm, curves: Sequence[Curve], threats: Sequence[ThreatResult]) -> Markup:
    """Accuracy against epsilon: curves with their intervals, and the suites' worst cases on top."""
    with looks():
        figure, axes = panel(WIDTH, HEIGHT + 40, bottom=92)
        for number, curve in enumerate(curves):
            _band(axes, curve, SERIES[number % len(SERIES)])
        for knowledge, mark in MARKS.items():
            found = [threat for threat in threats if threat.knowledge == knowledge]
            if found:
                x, rates = [threat.epsilon for threat in found], [threat.robust for threat in found]
                filled = INK if knowledge == "bank known" else "none"
                _errorbars(axes, x, rates, mark, label=f"whole suite, {knowledge}", markerfacecolor=filled)
        _epsilon_axis(axes, norm, [p.epsilon for c in curves for p in c.points] + [t.epsilon for t in threats])
        percent_axis(axes, "robust accuracy")
        axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.17), ncols=2, columnspacing=1.2, handlelength=1.8)
        alt = f"Accuracy against epsilon, {plain_norm(norm)}. " + "; ".join(
            f"{level(norm, p.epsilon)}: {p.robust.value or 0:.1%}" for c in curves for p in c.points
        )
        return inline(figure, f"accuracy-{norm}", alt)


def accuracy_by_credibility(bins: Sequence[Bin]) -> Markup:
    """How many answers of each credibility are right, with intervals."""
    filled = [one for one in bins if one.accuracy.trials]
    with looks():
        figure, axes = panel(WIDTH, HEIGHT)
        for one in filled:
            axes.bar(one.low, one.accuracy.value or 0, one.high - one.low, align="edge", color=SERIES[5], alpha=0.35)
        _errorbars(axes, [(b.low + b.high) / 2 for b in filled], [b.accuracy for b in filled], "o")
        percent_axis(axes, "answers that are right")
        axes.set(xlim=(0, 1), xlabel="credibility")
        alt = "Accuracy by credibility. " + "; ".join(
            f"{b.low:.1f} to {b.high:.1f}: {b.accuracy.value or 0:.1%}" for b in filled
        )
        return inline(figure, "by-credibility", alt)


def validity(at_or_below: Sequence[tuple[float, Measured]]) -> Markup:
    """The share of images with a credibility of at most e, against e: valid is on or below the diagonal."""
    with looks():
        figure, axes = panel(WIDTH, HEIGHT)
        axes.plot([0, 1], [0, 1], color=QUIET, linestyle="--", linewidth=1.2)
        axes.text(0.6, 0.64, "allowed: at most e", ha="right", color=QUIET, fontsize=11)
        edges, shares = zip(*at_or_below, strict=True)
        _errorbars(axes, edges, shares, "o")
        percent_axis(axes, "images at or below e")
        axes.set(xlim=(0, 1.03), xlabel="credibility e")
        alt = "Share of images with a credibility of at most e. " + "; ".join(
            f"e = {e:.1f}: {s.value or 0:.1%}" for e, s in at_or_below
        )
        return inline(figure, "validity", alt)


def training(curve: TrainingCurve, number: int) -> list[Markup]:
    """One small plot for each column of a stage's log."""
    shown = []
    with looks():
        for place, (name, values) in enumerate(curve.values.items()):
            figure, axes = panel(*SMALL, bottom=40, top=26)
            known = [(x, y) for x, y in zip(curve.steps, values, strict=True) if y is not None]
            xs, ys = zip(*known, strict=True) if known else ((), ())
            axes.plot(xs, ys, color=SERIES[0], linewidth=1.4, marker="" if len(xs) > 1 else "o")
            axes.set_title(name.replace("_", " "), loc="left")
            axes.set_xlabel("step")
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
            said = f"from {ys[0]:.4g} at step {xs[0]} to {ys[-1]:.4g} at step {xs[-1]}" if known else "never written"
            gaps = len(values) - len(known)
            lost = f"; {gaps} values missing or not finite" if gaps else ""
            shown.append(inline(figure, f"training-{number}-{place}", f"{name} in stage {curve.stage}: {said}{lost}."))
    return shown


def _band(axes: Axes, curve: Curve, colour: str) -> None:
    points = sorted(curve.points, key=lambda point: point.epsilon)
    x = [point.epsilon for point in points]
    low, high = [point.robust.low for point in points], [point.robust.high for point in points]
    axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(x, [_value(p.robust) for p in points], color=colour, marker="o", markersize=4, label="one quick attack")


def _errorbars(axes: Axes, x: Sequence[float], rates: Sequence[Measured], mark: str, **look: object) -> None:
    values = np.array([_value(rate) for rate in rates])
    reach = np.abs(np.array([[rate.low for rate in rates], [rate.high for rate in rates]]) - values)
    shared = {"color": INK, "linestyle": "", "marker": mark, "markersize": 5.5, "capsize": 3, "elinewidth": 1.2, "zorder": 5}
    axes.errorbar(x, values, yerr=reach, **(shared | look))  # type: ignore[arg-type]


def _value(rate: Measured) -> float:
    return float("nan") if rate.value is None else rate.value


def _epsilon_axis(axes: Axes, norm: Norm, epsilons: Sequence[float]) -> None:
    """Measured epsilons as ticks, on a square-root scale: small balls matter, and large ones must be seen to end at zero."""
    largest = max(epsilons, default=1.0) or 1.0
    axes.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
    axes.set_xlim(0, largest * 1.05)
    ticks: list[float] = []
    for epsilon in sorted(set(epsilons), reverse=True):
        if not ticks or sqrt(ticks[-1] / largest) - sqrt(epsilon / largest) > 0.075:
            ticks.append(epsilon)
    axes.set_xticks(ticks, [level(norm, epsilon, unit=False) for epsilon in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    unit = "grey levels of 255" if norm == "linf" else "length in pixels of [0, 1]"
    axes.set_xlabel(f"epsilon, {plain_norm(norm)} ({unit}; square-root scale)")


def at_or_below(bins: Sequence[Bin]) -> list[tuple[float, Measured]]:
    """For the upper edge e of each bin, the share of all images whose credibility is at most e."""
    images = [one.accuracy.trials for one in bins]
    counts = np.cumsum(images).tolist()
    return [(one.high, Measured.of(Rate(count, sum(images)))) for one, count in zip(bins, counts, strict=True)]
