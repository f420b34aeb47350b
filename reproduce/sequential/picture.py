"""Bars of all arms for each order, and what is left of chunk 1 after each chunk."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from demo.picture import INK, PAPER, QUIET
from holdfast.files import replace_atomically
from reproduce.sequential.claims import ARMS, OrderScores
from reproduce.sequential.plan import ANCHOR, BOTH, DISTILLED, JOINT, MIXED, PLAIN, REPLAY, SUPERVISED, TITLES

COLORS = {
    JOINT: INK,
    PLAIN: "#cf222e",
    REPLAY: "#0969da",
    ANCHOR: "#bf8700",
    BOTH: "#1a7f37",
    MIXED: "#1b7c83",
    DISTILLED: "#bf3989",
    SUPERVISED: "#8250df",
}
DPI, HEIGHT = 150, 4.6

Curves = Mapping[str, Mapping[str, Sequence[float]]]
"""By order and arm: the accuracy on what chunk 1 is of, after each chunk."""


def draw(path: Path, orders: Sequence[OrderScores], curves: Curves) -> None:
    """Write the PNG."""
    shown = {order: arms for order, arms in curves.items() if arms}
    with mpl.rc_context({"font.size": 10, "text.parse_math": False, "axes.edgecolor": QUIET}):
        widths = [1.5 + 1.1 * len(orders), *[3.0] * len(shown)]
        figure = Figure(figsize=(sum(widths) + 1, HEIGHT), dpi=DPI, facecolor=PAPER, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        panels = figure.subplots(1, 1 + len(shown), width_ratios=widths, squeeze=False)[0]
        _bars(panels[0], orders)
        for panel, (order, arms) in zip(panels[1:], shown.items(), strict=True):
            _curve(panel, order, arms)
        with replace_atomically(path) as aside:
            canvas.print_figure(aside, format="png")


def _bars(panel: Axes, orders: Sequence[OrderScores]) -> None:
    bars = [arm for arm in ARMS if any(arm in measured.arms for measured in orders)]
    width, lowest = 0.8 / len(bars), 100.0
    for place, measured in enumerate(orders):
        present = [arm for arm in (*ARMS, SUPERVISED) if arm in measured.arms]
        for number, arm in enumerate(present):
            mean = 100 * float(measured.arms[arm].mean())
            lowest = min(lowest, mean)
            if arm == SUPERVISED:
                panel.plot(place, mean, "o", color=COLORS[arm])
                continue
            at = place - 0.4 + (number + 0.5) * width
            panel.bar(at, mean, width, color=COLORS[arm])
            if arm != JOINT:  # of its difference to the joint arm, which has no whisker of its own
                apart = measured.combined({arm: 1, JOINT: -1})
                panel.errorbar(
                    at, mean, [[100 * (apart.estimate - apart.low)], [100 * (apart.high - apart.estimate)]], color=QUIET
                )
    drawn = [arm for arm in (*ARMS, SUPERVISED) if any(arm in measured.arms for measured in orders)]
    marks = [Line2D([], [], color=COLORS[arm], marker="o" if arm == SUPERVISED else "s", linestyle="") for arm in drawn]
    panel.legend(
        marks, [TITLES[a] for a in drawn], frameon=False, fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0)
    )
    panel.set_xticks(np.arange(len(orders)), [measured.order for measured in orders])
    panel.set_ylim(max(0.0, lowest - 8), None)
    panel.set_ylabel("kNN accuracy on all classes, %")


def _curve(panel: Axes, order: str, arms: Mapping[str, Sequence[float]]) -> None:
    for arm, values in arms.items():
        panel.plot(
            np.arange(1, len(values) + 1), 100 * np.array(values), "o-", color=COLORS[arm], label=TITLES[arm], markersize=4
        )
    panel.set_title(f"{order}: what chunk 1 is of", fontsize=10)
    panel.set_xlabel("after chunk")
    panel.set_xticks(np.arange(1, max(map(len, arms.values())) + 1))
