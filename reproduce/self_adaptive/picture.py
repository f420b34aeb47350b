"""The picture: accuracy as the training goes on, and errors over coverage."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from demo.picture import FAINT, INK, PAPER, QUIET
from holdfast.files import replace_atomically
from reproduce.kept_results import Figures
from reproduce.self_adaptive.scales import AdaptiveScale
from reproduce.self_adaptive.selective import read_scores, running_errors
from reproduce.self_adaptive.trainings import ABSTAINING, adapted_name, plain_name

DPI = 150
BLUE, RED, GREEN, PURPLE = "#0969da", "#cf222e", "#1a7f37", "#8250df"
NAMES = {"cifar10": "CIFAR-10"}


def draw(path: Path, scale: AdaptiveScale, figures: Mapping[str, Figures]) -> None:
    """Write the PNG, of what there is."""
    with mpl.rc_context({"font.size": 10, "axes.edgecolor": QUIET}):
        figure = Figure(figsize=(12.4, 4.8), dpi=DPI, facecolor=PAPER)
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        figure.subplots_adjust(0.06, 0.13, 0.985, 0.86, wspace=0.18)
        title = f"Self-adaptive training, {NAMES.get(scale.data, scale.data)}, scale {scale.name}"
        figure.text(0.06, 0.94, title, fontsize=15, weight="bold", color=INK, va="center")
        _training(left, scale, figures)
        _coverage(right, figures)
        with replace_atomically(path) as temporary:
            figure.savefig(temporary, metadata={"Software": None})


def _training(axes: Axes, scale: AdaptiveScale, figures: Mapping[str, Figures]) -> None:
    shades = np.linspace(1.0, 0.35, max(len(scale.rates), 1))
    for shade, rate in zip(shades, sorted(scale.rates), strict=True):
        for name, title, color in ((plain_name(rate), "cross-entropy", RED), (adapted_name(rate), "self-adaptive", BLUE)):
            if name in figures:
                steps, accuracy = zip(*figures[name]["curve"], strict=True)
                label = f"{title}, {100 * rate:.0f} % noise"
                axes.plot(steps, 100 * np.array(accuracy), color=color, alpha=shade, marker="o", markersize=3, label=label)
    axes.axvline(scale.steps * 2 / 3, color=FAINT, linewidth=1)
    _dress(axes, "The classifier on test images, as it learns from noisy labels", "step", "accuracy, %")


def _coverage(axes: Axes, figures: Mapping[str, Figures]) -> None:
    colors = {"softmax response": BLUE, "abstain logit": RED, "credibility": GREEN}
    for name, title, style in ((plain_name(0), "cross-entropy", ":"), (ABSTAINING, "with abstain logit", "-")):
        measured = figures.get(f"scores-{name}", {})
        for score in measured.get("scores", ()):
            errors = running_errors(*read_scores(measured, score))
            coverage = 100 * np.arange(1, len(errors) + 1) / len(errors)
            shown = coverage >= 50
            axes.plot(
                coverage[shown],
                100 * errors[shown],
                color=colors.get(score, PURPLE),
                linestyle=style,
                label=f"{score}, {title}",
            )
    _dress(axes, "Errors among the answers that are given, clean images", "coverage, %", "errors, %")


def _dress(axes: Axes, title: str, across: str, up: str) -> None:
    axes.set_title(title, fontsize=11, color=INK, loc="left")
    axes.set_xlabel(across, color=QUIET)
    axes.set_ylabel(up, color=QUIET)
    axes.grid(visible=True, color=FAINT, linewidth=0.5)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)
