"""The numbers of all steps as a picture: ratios against what was promised, accuracy, throughput, search."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Numbers = dict[str, Any]

INK, QUIET, FAINT = "#1f2328", "#656d76", "#d8dee4"
COLOURS = ("#0969da", "#1a7f37", "#bf8700", "#8250df")
RATIOS = {
    "training": "training / its passes alone",
    "engine": "engine / its libraries alone",
    "parity": "same label as the CPU",
}


def draw(path: Path, numbers: dict[str, Numbers]) -> None:
    """Write a PNG of what there is.

    Args:
        path: where to; its folder must be there.
        numbers: of each step by its name, as their results hold them.

    """
    with mpl.rc_context({"font.size": 10, "axes.edgecolor": FAINT, "text.color": INK, "axes.labelcolor": QUIET}):
        figure = Figure(figsize=(12, 7.5), dpi=100, layout="constrained")
        (ratios, accuracy), (served, searched) = figure.subplots(2, 2)
        _ratios(ratios, numbers)
        _accuracy(accuracy, numbers.get("evaluate", {}))
        _served(served, numbers.get("serve", {}))
        _searched(searched, numbers.get("scan", {}))
        for axes in (ratios, accuracy, served, searched):
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(colors=QUIET)
        figure.savefig(path, format="png", metadata={"Software": None})


def _ratios(axes: Axes, numbers: dict[str, Numbers]) -> None:
    _title(axes, "Ratios, and what was promised (line)")
    rows = [(RATIOS[name], numbers[name]) for name in RATIOS if name in numbers]
    for height, (_, found) in enumerate(rows):
        axes.barh(height, found["ratio"], height=0.5, color=COLOURS[0])
        axes.plot([found["bound"]] * 2, [height - 0.4, height + 0.4], color=INK, linewidth=2)
        axes.text(0.02, height, f"{found['ratio']:.3f}", va="center", color="white", fontweight="bold")
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.set_xlim(0, 1.1)
    axes.invert_yaxis()


def _accuracy(axes: Axes, found: Numbers) -> None:
    _title(axes, "Right answers, and 95 % intervals")
    rows = [("clean", _measured(found.get("clean")))]
    rows += [(_ball(each), _measured(each["robust"])) for each in _attacked(found)]
    for place, (_, (value, low, high)) in enumerate(rows):
        axes.bar(place, value, width=0.5, color=COLOURS[1] if place == 0 else COLOURS[0])
        axes.plot([place] * 2, [low, high], color=INK, linewidth=1.5)
        axes.text(place, high + 0.02, f"{value:.1%}", ha="center")
    axes.set_xticks(range(len(rows)), [label for label, _ in rows])
    axes.set_ylim(0, 1.1)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")


def _attacked(found: Numbers) -> list[Numbers]:
    robust = found.get("robust", [])
    return robust if isinstance(robust, list) else [{part: found[part] for part in ("norm", "epsilon", "robust")}]


def _ball(found: Numbers) -> str:
    levels = found["epsilon"] * 255
    radius = f"{levels:.3g}/255" if found["norm"] == "linf" else f"{found['epsilon']:g}"
    return f"{'L-inf' if found['norm'] == 'linf' else 'L2'} {radius}"


def _measured(value: Any) -> tuple[float, float, float]:
    """A rate with its interval, or a bare number."""
    if isinstance(value, dict):
        return value["value"] or 0.0, value["low"], value["high"]
    return (value or 0.0,) * 3


def _served(axes: Axes, found: Numbers) -> None:
    _title(axes, "Images a second over gRPC")
    sizes = sorted({each["images_per_call"] for each in found.get("served", ())})
    for size, colour in zip(sizes, COLOURS, strict=False):
        these = [each for each in found["served"] if each["images_per_call"] == size]
        places = [str(each["workers"]) for each in these]
        label = f"{size} {'image' if size == 1 else 'images'} a call"
        axes.plot(places, [each["images_per_second"] for each in these], "o-", color=colour, label=label)
    axes.set_xlabel("worker processes (0: one process does it all)")
    axes.set_ymargin(0.15)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if sizes:
        axes.legend(frameon=False)


def _searched(axes: Axes, found: Numbers) -> None:
    _title(axes, "Exact search: bytes a second, of a copy's")
    batches = sorted({each["batch"] for each in found.get("searches", ())})
    sizes = sorted({each["rows"] for each in found.get("searches", ())})
    width = 0.8 / max(1, len(batches))
    for number, (batch, colour) in enumerate(zip(batches, COLOURS, strict=False)):
        shares = {each["rows"]: each["share_of_copy"] for each in found["searches"] if each["batch"] == batch}
        places = [place + (number - (len(batches) - 1) / 2) * width for place in range(len(sizes))]
        label = f"{batch} {'query' if batch == 1 else 'queries'} a search"
        axes.bar(places, [shares[size] for size in sizes], width=width * 0.9, color=colour, label=label)
    axes.axhline(1, color=INK, linewidth=1)
    axes.set_xticks(range(len(sizes)), [f"{size:,}" for size in sizes])
    axes.set_xlabel("exemplars")
    axes.set_ylim(top=1.3 * max(1.0, axes.get_ylim()[1]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    if batches:
        axes.legend(frameon=False, loc="upper left", ncols=2)


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontweight="bold", color=INK)
