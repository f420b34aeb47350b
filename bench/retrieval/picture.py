"""CPU time a query against the number of exemplars, exact and approximate."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

COLOURS = {"exact": "#4c72b0", "ivf": "#dd8452"}
STYLES = {1: "o-", 64: "s--"}


def draw(measured: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a PNG of the real banks that were measured."""
    real = sorted((each for each in measured if each["data"] == "real"), key=lambda each: int(each["rows"]))
    figure, axes = plt.subplots(figsize=(6.4, 4.2))
    for name, field in (("exact", "exact_ms"), ("ivf", "ms")):
        for batch, style in STYLES.items():
            times = [{int(key): value for key, value in each[field].items()}[batch] for each in real]
            how = "single callers" if batch == 1 else f"in batches of {batch}"
            axes.plot([each["rows"] for each in real], times, style, color=COLOURS[name], label=f"{name}, {how}")
    axes.set(xscale="log", yscale="log", xlabel="exemplars of 128 dimensions", ylabel="CPU milliseconds a query")
    axes.set_title(f"the {real[0]['k']:,} nearest, one thread", fontsize=10)
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)
