"""What the paper says of smooth activations, and what was measured of it; and the tables of that.

Each claim is judged twice. Over seeds it is asked whether another training would come to the same; paired over the images of
all trainings, whether these trainings differ, which says nothing about another.
"""

from collections.abc import Mapping

import numpy as np

from holdfast.intervals import Counted, Rate, difference
from holdfast.intervals.paired import Bits
from holdfast.trainer.encoders.activations import Activation
from reproduce.differences import difference_over_seeds
from reproduce.kept_results import Figures, read
from reproduce.markdown import grid, percent
from reproduce.smooth_activations.scales import ActivationScale
from reproduce.verdicts import Finding

RELU: Activation = "relu"
TITLES: dict[str, str] = {
    "relu": "ReLU",
    "silu": "SiLU",
    "gelu": "GELU",
    "softplus": "softplus",
    "smoothrelu": "SmoothReLU",
}
PUBLISHED = {"robust": "42.3 : 33.0", "clean": "+0.9"}
"""Of the abstract: ResNet-50 on ImageNet."""

AS_ACCURATE = -0.01


def arm_name(activation: Activation, seed: int) -> str:
    """Of a training: "silu-0"."""
    return f"{activation}-{seed}"


def measured_seeds(scale: ActivationScale, figures: Mapping[str, Figures], activation: Activation) -> list[int]:
    """Seeds of which both this activation and ReLU are measured."""
    return [seed for seed in scale.seeds if {arm_name(activation, seed), arm_name(RELU, seed)} <= figures.keys()]


def findings_of(scale: ActivationScale, figures: Mapping[str, Figures]) -> list[Finding]:
    """On both claims, for every smooth activation that was measured."""
    found = []
    for activation in scale.activations:
        seeds = measured_seeds(scale, figures, activation)
        if activation == RELU or not seeds:
            continue
        claims = (
            ("robust", f"under attack, {TITLES[activation]} is right more often than ReLU", 0.0),
            ("clean", f"clean, {TITLES[activation]} is right at most a point less often", AS_ACCURATE),
        )
        for part, claim, margin in claims:
            published = PUBLISHED[part] if activation == "silu" else "-"
            one, other = ([read(figures[arm_name(each, seed)][part]) for seed in seeds] for each in (activation, RELU))
            over = difference_over_seeds([float(bits.mean()) for bits in one], [float(bits.mean()) for bits in other])
            images = f"{len(one[0]):,} test images"
            counted = f"{len(seeds)} trainings each, over seeds, {images}"
            found.append(Finding(claim, published, counted, over, margin))
            paired = difference(_counted(one), _counted(other))
            found.append(Finding(f"{claim}, of these trainings", published, f"paired over {images} of each", paired, margin))
    return found


def untried(scale: ActivationScale, figures: Mapping[str, Figures]) -> list[str]:
    """Trainings that were not measured yet."""
    wanted = [(activation, seed) for seed in scale.seeds for activation in scale.activations]
    return [f"{TITLES[each]}, seed {seed}" for each, seed in wanted if arm_name(each, seed) not in figures]


def tables(scale: ActivationScale, figures: Mapping[str, Figures]) -> list[tuple[str, str]]:
    """A row for each activation: all of its trainings together, and the spread of their robust accuracies."""
    rows = []
    for activation in scale.activations:
        names = [arm_name(activation, seed) for seed in scale.seeds if arm_name(activation, seed) in figures]
        if not names:
            continue
        parts = {part: [read(figures[name][part]) for name in names] for part in ("clean", "robust", "knn")}
        rates = [percent(rate_of(bits)) for bits in parts.values()]
        each = ", ".join(f"{100 * bits.mean():.1f}" for bits in parts["robust"])
        seconds = np.mean([figures[name]["seconds"] for name in names])
        rows.append([TITLES[activation], str(len(names)), *rates, each, f"{seconds:.0f}"])
    headings = ["activation", "trainings", "clean", "robust", "kNN, clean", "robust, each training", "seconds of one"]
    return [("Clean and under attack", grid(headings, rows))] if rows else []


def rate_of(several: list[Bits]) -> Rate:
    """Of all of them together; images that several trainings were asked about count as often."""
    together = np.concatenate(several)
    return Rate(int(together.sum()), len(together))


def _counted(several: list[Bits]) -> Counted:
    together = np.concatenate(several)
    return Counted(together, np.ones_like(together))
