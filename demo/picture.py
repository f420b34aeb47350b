"""The demo's picture: images, their attacked versions, the answers, and the neighbours that gave them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from holdfast.model.preprocess import Pixels

WIDTH, DPI = 1600, 100
HEADER, ROW, FOOTER = 178, 176, 66
TILE, SMALL, GAP, WORDS = 132, 66, 10, 136
CLEAN, CHANGE, ATTACKED, VERDICT = 50, 676, 812, 1497
NEAREST = TILE + WORDS + 30
NEIGHBOURS = 4

INK, QUIET, FAINT, CARD, PAPER = "#1f2328", "#656d76", "#d8dee4", "#f6f8fa", "#ffffff"
GREEN, RED, AMBER = "#1a7f37", "#cf222e", "#bf8700"


@dataclass(frozen=True, eq=False)
class PictureNeighbour:
    """An exemplar that voted: its image uint8 [H, W, 3], its class name, and the cosine similarity."""

    image: Pixels
    label: str
    similarity: float


@dataclass(frozen=True, eq=False)
class PictureAnswer:
    """One image with the answer it got.

    Attributes:
        image: uint8 [H, W, 3].
        label: the class name that was answered.
        credibility: in [0, 1]; NaN where the bundle is not calibrated.
        abstain: whether the server would rather not have answered.
        neighbours: the nearest first; the first four are drawn.

    """

    image: Pixels
    label: str
    credibility: float
    abstain: bool
    neighbours: Sequence[PictureNeighbour]


@dataclass(frozen=True, eq=False)
class PictureRow:
    """An image, its true class name, and the answers to it clean and attacked."""

    truth: str
    clean: PictureAnswer
    attacked: PictureAnswer


def draw(path: Path, rows: Sequence[PictureRow], title: str, subtitle: str = "") -> None:
    """Write a PNG, 1,600 pixels wide, one row per image.

    Args:
        path: where to; its folder must be there.
        rows: at least one. Images may differ in size from row to row.
        title: one line, large.
        subtitle: one line below it.

    Raises:
        ValueError: without rows.

    """
    if not rows:
        raise ValueError("a picture needs at least one row")
    height = HEADER + ROW * len(rows) + FOOTER
    # Figure(...) and not pyplot: no window system, no state that another caller could have changed.
    with mpl.rc_context({"font.family": "DejaVu Sans", "text.parse_math": False}):
        figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, WIDTH), ylim=(height, 0))
        axes.axis("off")
        gain = _gain(rows)
        _header(axes, title, subtitle, gain)
        for number, row in enumerate(rows):
            _row(axes, HEADER + ROW * number, row, gain)
        _legend(axes, height - FOOTER + 28)
        figure.savefig(path, format="png", metadata={"Software": "holdfast"})


def change(clean: Pixels, attacked: Pixels, gain: float) -> Pixels:
    """What the attack added, `gain` times, around mid-grey. Shape: uint8 [H, W, 3] twice -> uint8 [H, W, 3]."""
    moved = attacked.astype(np.float64) - clean
    shown: Pixels = (128 + gain * moved).round().clip(0, 255).astype(np.uint8)
    return shown


def _gain(rows: Sequence[PictureRow]) -> float:
    """One amplification for all rows, a whole number, that shows the largest change about fully."""
    largest = max(int(np.abs(row.attacked.image.astype(int) - row.clean.image).max()) for row in rows)
    return float(max(1, 127 // max(1, largest)))


def _header(axes: Axes, title: str, subtitle: str, gain: float) -> None:
    _text(axes, 40, 52, title, 38, weight="bold")
    _text(axes, 40, 98, subtitle, 22, color=QUIET)
    for x, heading in ((CLEAN, "clean image"), (CHANGE, f"change ×{gain:g}"), (ATTACKED, "attacked image")):
        _text(axes, x, 154, heading, 20, color=QUIET, weight="bold")
    for x in (CLEAN, ATTACKED):
        _text(axes, x + NEAREST, 154, "nearest exemplars", 20, color=QUIET, weight="bold")


def _row(axes: Axes, top: float, row: PictureRow, gain: float) -> None:
    card = FancyBboxPatch(
        (32, top + 4), WIDTH - 64, ROW - 12, boxstyle="round,pad=0,rounding_size=12", facecolor=CARD, edgecolor=FAINT
    )
    axes.add_patch(card)
    y = top + (ROW - 4 - TILE) / 2
    _answer(axes, CLEAN, y, row.clean, row.truth)
    _image(axes, CHANGE, y + 16, 100, change(row.clean.image, row.attacked.image, gain), color=FAINT)
    _answer(axes, ATTACKED, y, row.attacked, row.truth)
    _verdict(axes, y + TILE / 2, row)


def _answer(axes: Axes, x: float, y: float, answer: PictureAnswer, truth: str) -> None:
    color = GREEN if answer.label == truth else RED
    _image(axes, x, y, TILE, answer.image, color=color, width=4)
    words = x + TILE + 16
    said = "answers" if answer.label == truth else f"{truth} seen as"
    _text(axes, words, y + 14, said, _fitting(said, WORDS, 18), color=QUIET)
    _text(axes, words, y + 50, answer.label, _fitting(answer.label, WORDS, 40), color=color, weight="bold")
    if not isnan(answer.credibility):
        shade = AMBER if answer.abstain else INK
        _text(axes, words, y + 92, f"credibility {answer.credibility:.2f}", 18, color=shade)
        axes.add_patch(Rectangle((words, y + 106), WORDS, 8, facecolor=FAINT))
        axes.add_patch(Rectangle((words, y + 106), WORDS * answer.credibility, 8, facecolor=shade))
    if answer.abstain:
        _text(axes, words, y + 130, "abstains", 18, color=AMBER, weight="bold")
    for place, neighbour in enumerate(answer.neighbours[:NEIGHBOURS]):
        left = x + NEAREST + place * (SMALL + GAP)
        agrees = GREEN if neighbour.label == truth else RED
        _image(axes, left, y + 10, SMALL, neighbour.image, color=agrees, width=3)
        size = _fitting(neighbour.label, SMALL + GAP - 4, 22)
        _text(axes, left + SMALL / 2, y + 100, neighbour.label, size, color=agrees, weight="bold", ha="center")
        _text(axes, left + SMALL / 2, y + 124, f"{neighbour.similarity:.2f}", 17, color=QUIET, ha="center")


def _verdict(axes: Axes, middle: float, row: PictureRow) -> None:
    """Whether the answer held: the one thing to see from afar."""
    if row.attacked.abstain:
        word, color = "abstains", AMBER
    elif row.attacked.label == row.truth:
        word, color = "holds", GREEN
    else:
        word, color = "fooled", RED
    pill = FancyBboxPatch(
        (VERDICT - 57, middle - 21), 114, 42, boxstyle="round,pad=0,rounding_size=20", facecolor=color, edgecolor="none"
    )
    axes.add_patch(pill)
    _text(axes, VERDICT, middle, word, 20, color=PAPER, weight="bold", ha="center")


def _legend(axes: Axes, y: float) -> None:
    parts = ((GREEN, "the true class"), (RED, "another class"), (AMBER, "abstains: credibility too low to answer"))
    x = 40.0
    for color, words in parts:
        axes.add_patch(Rectangle((x, y - 8), 16, 16, facecolor=color))
        _text(axes, x + 26, y, words, 18, color=QUIET)
        x += 26 + 10.5 * len(words) + 40
    _text(axes, WIDTH - 40, y, "below each exemplar: its cosine similarity", 18, color=QUIET, ha="right")


def _image(axes: Axes, x: float, y: float, side: float, image: Pixels, *, color: str, width: float = 1) -> None:
    axes.imshow(image, extent=(x, x + side, y + side, y), interpolation="nearest", aspect="auto", zorder=2)
    axes.add_patch(Rectangle((x, y), side, side, fill=False, edgecolor=color, linewidth=width * 72 / DPI, zorder=3))


def _text(axes: Axes, x: float, y: float, words: str, pixels: float, **style: Any) -> None:
    options = {"color": INK, "va": "center", "ha": "left"} | style
    axes.text(x, y, words, fontsize=pixels * 72 / DPI, zorder=4, **options)


def _fitting(words: str, width: float, largest: float) -> float:
    """Font size in pixels at which `words` in bold stay within `width` pixels."""
    return min(largest, width / (0.68 * max(1, len(words))))
