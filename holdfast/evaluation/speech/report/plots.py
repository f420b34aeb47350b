"""Plots of a report of speakers: who is known in which noise, and errors of verification."""

from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.ticker import PercentFormatter

from holdfast.evaluation.report.plots.svg import DASHES, QUIET, SERIES, inline, looks, named, panel, percent_axis
from holdfast.evaluation.report.results import Measured
from holdfast.evaluation.speech.report.results import ConditionResult, VerificationResult

WIDTH, HEIGHT = 460, 330
CLEAN_AT = 6.0
"""Decibels to the right of the last level, where the clean condition stands."""


def by_noise(conditions: Sequence[ConditionResult]) -> Markup:
    """Identified and answered, against the noise; with 95 % intervals, and the clean recordings on the right."""
    clean = next(each for each in conditions if each.noise is None)
    levels = sorted({each.decibels for each in conditions if each.decibels is not None})
    right = levels[-1] + CLEAN_AT
    with looks():
        figure, axes = panel(WIDTH, HEIGHT, bottom=98)
        for number, noise in enumerate(dict.fromkeys(each.noise for each in conditions if each.noise is not None)):
            noisy = sorted((each for each in conditions if each.noise == noise), key=lambda each: each.decibels or 0.0)
            x = [*(each.decibels or 0.0 for each in noisy), right]
            shares = {
                "identified": [each.identified for each in (*noisy, clean)],
                "answered": [each.answered for each in (*noisy, clean)],
            }
            for place, (what, rates) in enumerate(shares.items()):
                colour = SERIES[2 * number + place]
                axes.fill_between(x, [r.low for r in rates], [r.high for r in rates], color=colour, alpha=0.15, linewidth=0)
                look = {"color": colour, "linestyle": DASHES[place], "marker": "o", "markersize": 4.0}
                axes.plot(x, list(map(_value, rates)), label=f"{noise}, {what}", **look)  # type: ignore[arg-type]
        percent_axis(axes, "of the recordings")
        axes.set_xticks([*levels, right], [*(f"{level:g}" for level in levels), "clean"])
        axes.set_xlabel("decibels of the voice above the noise")
        axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.2), ncols=2, columnspacing=1.2, handlelength=1.8)
        said = "; ".join(f"{each.name}: {_value(each.identified):.1%} identified" for each in conditions)
        return inline(figure, "by-noise", f"Identified and answered, against the noise. {said}")


def errors(found: Sequence[VerificationResult]) -> Markup:
    """Misses against false alarms at every threshold, and where they are equal."""
    with looks():
        figure, axes = panel(WIDTH, HEIGHT, bottom=98)
        axes.plot([0, 1], [0, 1], color=QUIET, linestyle="--", linewidth=1.2)
        for number, one in enumerate(found):
            colour, rate = SERIES[number % len(SERIES)], one.equal_error_rate
            x, y = [point.false_alarms for point in one.points], [point.misses for point in one.points]
            axes.plot(x, y, color=colour, linestyle=DASHES[number % len(DASHES)], label=named(one.condition))
            axes.plot([rate], [rate], color=colour, marker="o", markersize=6, linestyle="")
        percent_axis(axes, "misses: one speaker taken for two")
        axes.set(xlim=(-0.02, 1.02), xlabel="false alarms: two speakers taken for one")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.2), ncols=2, columnspacing=1.2, handlelength=1.8)
        said = "; ".join(f"{one.condition}: equal at {one.equal_error_rate:.1%}" for one in found)
        return inline(figure, "errors", f"Misses against false alarms of verification. {said}")


def _value(rate: Measured) -> float:
    return float("nan") if rate.value is None else rate.value
