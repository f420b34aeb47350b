"""Two pictures: accuracy by the number of labels, and a sheet of generated images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from demo.picture import INK, PAPER, QUIET
from holdfast.files import replace_atomically
from holdfast.model.preprocess import Pixels
from reproduce.kept_results import Figures
from reproduce.ugan.findings import bits_of, measured_runs
from reproduce.ugan.scales import ArmName, FewLabelsScale
from reproduce.ugan.trainings import TITLES

DPI = 150
COLORS: dict[ArmName, str] = {"supervised": "#bf8700", "good": "#1a7f37", "bad": "#cf222e", "ugan": "#0969da"}
ASIDE: dict[ArmName, float] = {"supervised": 0.91, "good": 0.97, "bad": 1.03, "ugan": 1.09}
"""Factors on the number of labels, so that points of one number do not hide each other."""
COLUMNS = 10
ENLARGED = 2


def draw_curve(path: Path, scale: FewLabelsScale, figures: Mapping[str, Figures]) -> None:
    """Write the PNG: a point for each training, a line through the means of an arm."""
    with mpl.rc_context({"font.size": 10, "text.parse_math": False, "axes.edgecolor": QUIET}):
        figure = Figure(figsize=(7.2, 4.6), dpi=DPI, facecolor=PAPER, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        lines: dict[ArmName, list[tuple[int, Sequence[float]]]] = {}
        for labels, arm, seeds in measured_runs(scale, figures):
            each = [100 * float(bits.mean()) for bits in bits_of(figures, arm, labels, seeds, "head")]
            lines.setdefault(arm, []).append((labels, each))
        for arm, points in lines.items():
            _line(axes, arm, points)
        ticks = sorted({scale.labels, *scale.curve})
        axes.set_xscale("log")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("labels that are known", color=QUIET)
        axes.set_ylabel("accuracy of the classifier, %", color=QUIET)
        axes.set_title("Accuracy from few labels: a point for each seed", color=INK, loc="left")
        axes.grid(color=QUIET, alpha=0.2)
        axes.legend(frameon=False)
        with replace_atomically(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})


def _line(axes: Axes, arm: ArmName, points: Sequence[tuple[int, Sequence[float]]]) -> None:
    at = [labels * ASIDE[arm] for labels, _ in points]
    axes.plot(at, [np.mean(each) for _, each in points], color=COLORS[arm], label=TITLES[arm])
    for place, (_, each) in zip(at, points, strict=True):
        axes.plot([place] * len(each), each, "o", color=COLORS[arm], markersize=5, alpha=0.7)


def draw_sheet(path: Path, rows: Sequence[Pixels]) -> None:
    """Write the PNG: uint8 [10 n, H, W, 3] images of each kind, ten a row, a line between the kinds."""
    parts = []
    for images in rows:
        _, height, width, _ = images.shape
        tiled = images.reshape(-1, COLUMNS, height, width, 3).swapaxes(1, 2).reshape(-1, COLUMNS * width, 3)
        parts += [tiled, np.full((4, COLUMNS * width, 3), 255, np.uint8)]
    sheet = Image.fromarray(np.concatenate(parts[:-1]))
    with replace_atomically(path) as temporary:
        sheet.resize((sheet.width * ENLARGED, sheet.height * ENLARGED), Image.Resampling.NEAREST).save(temporary, "PNG")
