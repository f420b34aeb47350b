"""Each training as a dot, clean against robust, a colour for each activation, and their means as crosses."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from demo.picture import INK, PAPER, QUIET
from holdfast.files import replace_atomically
from reproduce.kept_results import Figures, read
from reproduce.smooth_activations.findings import TITLES, arm_name
from reproduce.smooth_activations.scales import ActivationScale

COLORS = {"relu": "#cf222e", "silu": "#0969da", "gelu": "#1a7f37", "softplus": "#bf8700", "smoothrelu": "#8250df"}
DPI, SIZE = 150, (5.6, 4.4)


def draw(path: Path, scale: ActivationScale, figures: Mapping[str, Figures]) -> None:
    """Write the PNG."""
    with mpl.rc_context({"font.size": 10, "text.parse_math": False, "axes.edgecolor": QUIET}):
        figure = Figure(figsize=SIZE, dpi=DPI, facecolor=PAPER, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        panel = figure.subplots()
        for activation in scale.activations:
            names = [arm_name(activation, seed) for seed in scale.seeds if arm_name(activation, seed) in figures]
            if not names:
                continue
            clean, robust = (
                100 * np.array([read(figures[name][part]).mean() for name in names]) for part in ("clean", "robust")
            )
            panel.plot(clean, robust, "o", color=COLORS[activation], alpha=0.6, label=TITLES[activation])
            panel.plot(clean.mean(), robust.mean(), "x", color=COLORS[activation], markersize=11, markeredgewidth=2)
        panel.set_xlabel("right when clean, %", color=INK)
        panel.set_ylabel("right under every attack, %", color=INK)
        panel.grid(color="#d0d7de", linewidth=0.6)
        if figures:
            panel.legend(frameon=False, fontsize=9)
        with replace_atomically(path) as aside:
            canvas.print_figure(aside, format="png")
