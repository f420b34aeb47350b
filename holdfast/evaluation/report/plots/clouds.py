"""Clean and attacked embeddings, side by side."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from holdfast.evaluation.report.plots.svg import INK, PAPER, SERIES, inline, looks, panel
from holdfast.evaluation.report.results import Cloud
from holdfast.evaluation.report.words import class_name

SIDE = 460
MARKS = "os^DvPX"
"""Seven, so that together with eight colours the first 56 classes all look different."""

NAMED = 20
"""Classes up to which each name is written at its centre; more would hide the points."""


def clouds(cloud: Cloud, class_names: Sequence[str]) -> list[Markup]:
    """Two plots in one frame of coordinates: clean embeddings, and where the attack took them."""
    labels, fooled = np.array(cloud.labels, dtype=int), np.array(cloud.fooled, dtype=bool)
    clean, attacked = np.array(cloud.clean).reshape(-1, 2), np.array(cloud.attacked).reshape(-1, 2)
    both = np.concatenate([clean, attacked])
    middle = (both.min(0) + both.max(0)) / 2
    reach = 1.06 * max(np.ptp(both, axis=0).max() / 2, 1e-9)
    limits = np.stack([middle - reach, middle + reach])
    said = f"{len(labels)} images on two principal components"
    with looks():
        shown = []
        for name, points, alt in (
            ("clean", clean, f"Clean embeddings of {said}, coloured by true class."),
            (
                "attacked",
                attacked,
                f"Attacked embeddings of {said}; {fooled.sum()} fooled, each with a line from where it was.",
            ),
        ):
            figure, axes = panel(SIDE, SIDE, left=34, bottom=34, top=26)
            _frame(axes, limits, cloud.explained)
            axes.set_title(name if name == "clean" else f"attacked, {cloud.threat}", loc="left")
            if name == "attacked":
                _lines(axes, clean[fooled], attacked[fooled])
                _scatter(axes, points[~fooled], labels[~fooled], faint=True)
                _scatter(axes, points[fooled], labels[fooled])
            else:
                _scatter(axes, points, labels)
            _names(axes, clean, labels, class_names)
            shown.append(inline(figure, f"cloud-{name}", alt))
        return shown


def _frame(axes: Axes, limits: np.ndarray, explained: tuple[float, float]) -> None:
    axes.set(xlim=limits[:, 0], ylim=limits[:, 1], xticks=[], yticks=[])
    axes.set_xlabel(f"first component, {explained[0]:.0%} of the variance")
    axes.set_ylabel(f"second component, {explained[1]:.0%}")


def _lines(axes: Axes, start: np.ndarray, end: np.ndarray) -> None:
    """All of them as one path: a page with hundreds of elements less."""
    gap = np.full_like(start, np.nan)
    path = np.stack([start, end, gap], axis=1).reshape(-1, 2)
    axes.plot(path[:, 0], path[:, 1], color=INK, linewidth=0.6, alpha=0.35)


def _scatter(axes: Axes, points: np.ndarray, labels: np.ndarray, *, faint: bool = False) -> None:
    for label in np.unique(labels):
        x, y = points[labels == label].T
        look = {"alpha": 0.3, "linewidth": 0} if faint else {"alpha": 0.95, "linewidth": 0.5, "edgecolor": PAPER}
        colour, mark = SERIES[label % len(SERIES)], MARKS[label % len(MARKS)]
        axes.scatter(x, y, s=30, color=colour, marker=mark, **look)


def _names(axes: Axes, points: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> None:
    present = np.unique(labels)
    if len(present) > NAMED:
        return
    for label in present:
        x, y = np.median(points[labels == label], axis=0)
        box = {"boxstyle": "round,pad=0.18", "facecolor": PAPER, "edgecolor": SERIES[label % len(SERIES)], "alpha": 0.85}
        axes.text(
            x, y, class_name(int(label), class_names)[:16], ha="center", va="center", fontweight="bold", fontsize=11, bbox=box
        )
