"""Plots of what is said about answers: abstention, detection, ranking."""

from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from holdfast.evaluation.report.plots.svg import DASHES, QUIET, SERIES, inline, looks, named, panel, percent_axis
from holdfast.evaluation.report.results import DetectorResult, Ranking, Selective

WIDTH, HEIGHT = 460, 310


def selective(series: Sequence[Selective]) -> Markup:
    """Error against coverage, one line for each set of images."""
    with looks():
        figure, axes = panel(WIDTH, HEIGHT + 40, bottom=92)
        for number, one in enumerate(series):
            x, y = [p.coverage for p in one.points], [p.error for p in one.points]
            colour, dash = SERIES[number % len(SERIES)], DASHES[number % len(DASHES)]
            axes.plot(x, y, marker="o", markersize=3.5, label=named(one.name), color=colour, linestyle=dash)
        largest = max(p.error for one in series for p in one.points)
        percent_axis(axes, "error among those answered", top=max(0.05, 1.1 * largest))
        axes.set(xlim=(-0.02, 1.02), xlabel="coverage: share of the images answered")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.17), ncols=4, columnspacing=1.0, handlelength=1.8)
        alt = "Error against coverage. " + "; ".join(
            f"{one.name}: {one.points[-1].error:.1%} when all are answered" for one in series
        )
        return inline(figure, "selective", alt)


def answered_wrongly(series: Sequence[Selective]) -> Markup:
    """The share of all images that is answered, and wrongly, against the threshold of credibility."""
    with looks():
        figure, axes = panel(WIDTH, HEIGHT + 40, bottom=92)
        largest, said = 0.05, []
        for number, one in enumerate(series):
            points = [p for p in one.points if p.credibility is not None]
            x, y = [p.credibility or 0 for p in points], [p.coverage * p.error for p in points]
            _line(axes, x, y, one.name, number)
            largest = max([largest, *y])
            said.append(f"{one.name}: {max(y, default=0):.1%} at the lowest threshold")
        percent_axis(axes, "answered and wrong, of all images", top=1.1 * largest)
        axes.set(xlim=(0, 1.02), xlabel="threshold of credibility")
        _legend(axes)
        return inline(figure, "answered-wrongly", "Answered and wrong against the threshold. " + "; ".join(said))


def detection(detector: DetectorResult, number: int) -> Markup:
    """Attackers' wrong answers that a detector flags, against its false alarms."""
    with looks():
        figure, axes = panel(WIDTH, HEIGHT, bottom=82, top=30)
        axes.plot([0, 1], [0, 1], color=QUIET, linestyle="--", linewidth=1.2)
        x = [point.false_alarms for point in detector.roc]
        flagged = {
            "attacker ignores it": [point.ignoring for point in detector.roc],
            "attacker aims at it": [point.aiming for point in detector.roc],
        }
        for place, (label, y) in enumerate(flagged.items()):
            _line(axes, x, [float("nan") if share is None else share for share in y], label, place)
        axes.set_title(named(detector.name), loc="left")
        percent_axis(axes, "wrong answers flagged")
        axes.set(xlim=(-0.02, 1.02), xlabel="false alarms on clean images")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        _legend(axes)
        areas = [("ignores it", detector.auroc_ignoring), ("aims at it", detector.auroc_aiming)]
        said = "; ".join(f"area {'unknown' if area is None else f'{area:.2f}'} where the attacker {who}" for who, area in areas)
        return inline(figure, f"detection-{number}", f"{detector.name}: wrong answers flagged against false alarms. {said}")


def rankings(condition: str, found: Sequence[Ranking], number: int) -> Markup:
    """Error against coverage, one line for each judgement."""
    with looks():
        figure, axes = panel(WIDTH, HEIGHT + 20, bottom=92, top=30)
        for place, one in enumerate(found):
            _line(axes, [p.coverage for p in one.points], [p.error for p in one.points], one.judgement, place)
        largest = max((p.error for one in found for p in one.points), default=0.05)
        axes.set_title(named(condition), loc="left")
        percent_axis(axes, "error among those answered", top=max(0.05, 1.1 * largest))
        axes.set(xlim=(-0.02, 1.02), xlabel="coverage: share of the images answered")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        _legend(axes)
        said = "; ".join(f"{one.judgement}: area {'unknown' if one.auroc is None else f'{one.auroc:.2f}'}" for one in found)
        return inline(figure, f"ranking-{number}", f"Error against coverage, {condition}. {said}")


def _line(axes: Axes, x: Sequence[float], y: Sequence[float], label: str, number: int) -> None:
    # Where colours begin again, dashes are others.
    dash = DASHES[(number + number // len(SERIES)) % len(DASHES)]
    axes.plot(x, y, label=named(label), color=SERIES[number % len(SERIES)], linestyle=dash)


def _legend(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.2), ncols=3, columnspacing=1.0, handlelength=1.8)
