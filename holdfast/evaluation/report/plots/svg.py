"""A matplotlib figure as SVG that stands inside a page: it takes the page's colours and fonts, light or dark."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

INK, QUIET, FAINT, PAPER = "#1f2329", "#5a636e", "#d5dbe2", "#fffffe"
SERIES = ("#0072b2", "#d55e01", "#009e74", "#cc79a7", "#b58900", "#56b4e9", "#7b5cc4", "#8c564b")
"""After Okabe and Ito, whose colours are told apart by the colour-blind; yellow darkened so that it shows on white."""

VARIABLES = {INK: "ink", QUIET: "quiet", FAINT: "faint", PAPER: "paper"} | {c: f"s{i}" for i, c in enumerate(SERIES)}
"""Drawn in these colours, shown in the CSS variables of these names: page.css has both schemes."""

LOOK = {
    "svg.fonttype": "none",
    "svg.hashsalt": "holdfast",
    "text.parse_math": False,
    "font.size": 12,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.titlesize": 12,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 11,
}

POINTS_PER_INCH = 72
DASHES = ("-", "--", "-.", ":")


@contextmanager
def looks() -> Iterator[None]:
    """Draw within this: nothing of the caller's own matplotlib settings shows, and nothing of ours stays behind."""
    with mpl.rc_context(), style.context(["default", LOOK]):
        yield


def panel(
    width: float, height: float, *, left: float = 52, bottom: float = 46, top: float = 12, right: float = 14
) -> tuple[Figure, Axes]:
    """A figure of one plot; all lengths in points, margins by hand: measuring text would make them hang on fonts."""
    figure = Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH), dpi=POINTS_PER_INCH)
    box = left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height
    return figure, figure.add_axes(box)


def named(text: str, length: int = 44) -> str:
    """For a legend, not too long; one that begins with an underscore would be hidden by matplotlib."""
    short = text if len(text) <= length else text[: length - 1] + "…"
    return short if not short.startswith("_") else " " + short


def percent_axis(axes: Axes, label: str, top: float = 1.02) -> None:
    """Shares up the side, from nothing to `top`."""
    axes.set(ylim=(-0.02 * top, top), ylabel=label)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def inline(figure: Figure, name: str, alt: str) -> Markup:
    """The figure as an <svg> element for an HTML page: no prologue, no metadata, ids that no other figure has.

    Args:
        figure: drawn within `looks`, in the colours of this module.
        name: of the figure, unique on the page: letters, digits and dashes.
        alt: what a reader who cannot see it needs to know.

    """
    file = io.StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=no_metadata)
    text = file.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # it would hold for the whole page
    opening, rest = text.split(">", 1)
    body = re.sub(r"<[^>]*>", lambda tag: _adopted(tag[0], name), rest)
    body = re.sub(r">\s+<", "><", body)
    box = re.search(r'viewBox="[^"]*"', opening)
    width = float(figure.get_figwidth()) * POINTS_PER_INCH
    head = f'<svg class="plot" role="img" aria-label="{escape(alt)}" style="max-width:{width:.0f}px" {box[0] if box else ""}>'
    return Markup(head + body)  # noqa: S704 - matplotlib escapes all text that it writes


def _adopted(tag: str, name: str) -> str:
    """One tag with its ids made the figure's own, its colours the page's, and no font of its own. Text is left alone."""
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r"url\(#", f"url(#{name}-", tag)
    tag = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', tag)
    tag = re.sub(r"font-family: [^;]*; ", "", tag)
    tag = re.sub(r' transform="rotate\(-0 [^)]*\)"', "", tag)
    for colour, variable in VARIABLES.items():
        tag = tag.replace(colour, f"var(--{variable})")
    return " ".join(tag.split())
