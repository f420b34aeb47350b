"""The claims, each with the interval that decides it; one whose trainings are not there yet is not tried, and said so."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from holdfast.intervals import Counted, Difference, difference
from holdfast.intervals.paired import Bits
from reproduce.differences import difference_over_seeds
from reproduce.kept_results import Figures, read
from reproduce.ugan.scales import ARMS, ArmName, FewLabelsScale
from reproduce.ugan.trainings import FewLabelsRun, runs_of
from reproduce.verdicts import Finding

MUCH = 0.05
"""What the first claim calls more."""
LITTLE = -0.005
"""The largest loss that counts as none."""
MOST_FEW = 50
"""Labels up to which the second claim speaks of few."""
PUBLISHED = {"bad": "99.2", "good": "99.1", "supervised": "-"}
"""Accuracy on MNIST with 100 labels, in percent: 79.5 and 91 errors of 10,000."""


def counted(bits: Sequence[Bits]) -> Counted:
    """Answers of several seeds as one rate: the images of each seed are images of their own."""
    right = np.concatenate(bits)
    return Counted(right, np.ones_like(right))


def findings_of(scale: FewLabelsScale, figures: Mapping[str, Figures]) -> list[Finding]:
    """All claims that can be judged by what was measured."""
    first = "(1) ugan is right more often than labelled images alone, by 5 points"
    found = [*_against(scale, figures, "supervised", MUCH, first)]
    found += _worst_seeds(scale, figures)
    for arm in ("good", "bad"):
        found += _against(scale, figures, arm, LITTLE, f"(3) ugan is at most half a point behind {arm} alone")
    found += _votes(scale, figures)
    return found


def untried(scale: FewLabelsScale, figures: Mapping[str, Figures]) -> list[str]:
    """The trainings that are not measured yet."""
    return [run.name for run in runs_of(scale) if run.name not in figures]


def seeds_with(scale: FewLabelsScale, figures: Mapping[str, Figures], labels: int, arms: Sequence[ArmName]) -> list[int]:
    """The seeds by which all of these arms were trained, with so many labels."""
    return [seed for seed in scale.seeds if all(FewLabelsRun(arm, labels, seed).name in figures for arm in arms)]


def bits_of(figures: Mapping[str, Figures], arm: ArmName, labels: int, seeds: Sequence[int], measure: str) -> list[Bits]:
    """Which test images each seed's training answers rightly, by one of its measures."""
    return [read(figures[FewLabelsRun(arm, labels, seed).name][measure]) for seed in seeds]


def _against(
    scale: FewLabelsScale, figures: Mapping[str, Figures], arm: ArmName, margin: float, claim: str
) -> Iterator[Finding]:
    labels = scale.labels
    seeds = seeds_with(scale, figures, labels, ("ugan", arm))
    if not seeds:
        return
    mine, theirs = (bits_of(figures, name, labels, seeds, "head") for name in ("ugan", arm))
    published = PUBLISHED[arm] if scale.data == "mnist" else "-"
    what = f"classifier's accuracy, {labels} labels, "
    images = f"paired over {sum(map(len, mine)):,} test images of {_seeds(seeds)}"
    yield Finding(claim, published, what + images, difference(counted(mine), counted(theirs)), margin)
    if len(seeds) > 1:
        apart = difference_over_seeds([b.mean() for b in mine], [b.mean() for b in theirs])
        yield Finding(claim, published, f"{what}paired over {_seeds(seeds)}", apart, margin)


def _worst_seeds(scale: FewLabelsScale, figures: Mapping[str, Figures]) -> Iterator[Finding]:
    few = [labels for labels in sorted({*scale.curve, scale.labels}) if labels <= MOST_FEW]
    for labels in few:
        seeds = seeds_with(scale, figures, labels, ("ugan", "bad"))
        if not seeds:
            continue
        worst = [min(bits_of(figures, arm, labels, seeds, "head"), key=np.mean) for arm in ("ugan", "bad")]
        # Of one seed each nothing is known about the worst: the interval is unbounded.
        apart = difference(*(counted([bits]) for bits in worst))
        apart = apart if len(seeds) > 1 else Difference(apart.estimate, -np.inf, np.inf)
        yield Finding(
            f"(2) with {labels} labels, the worst seed of ugan is at least as right as that of bad alone",
            "stable",
            f"classifier's accuracy of the worst of {_seeds(seeds)}, {len(worst[0]):,} test images",
            apart,
            LITTLE,
        )


def _votes(scale: FewLabelsScale, figures: Mapping[str, Figures]) -> Iterator[Finding]:
    labels = scale.labels
    seeds = seeds_with(scale, figures, labels, ("ugan",))
    if not seeds:
        return
    bits = {name: bits_of(figures, "ugan", labels, seeds, name) for name in ("head", "knn", "knn_pseudo")}
    images = f"accuracy of ugan, paired over {sum(map(len, bits['head'])):,} test images of {_seeds(seeds)}"
    for claim, one, other in (
        (f"(4) the vote of the {labels} labelled exemplars is at most half a point behind the classifier", "knn", "head"),
        ("(4) so is the vote with guessed labels", "knn_pseudo", "head"),
        (f"(4) guessed labels are at most half a point behind the {labels} exemplars alone", "knn_pseudo", "knn"),
    ):
        yield Finding(claim, "-", images, difference(counted(bits[one]), counted(bits[other])), LITTLE)


def _seeds(seeds: Sequence[int]) -> str:
    return f"{len(seeds)} seeds" if len(seeds) > 1 else "one seed"


def measured_runs(scale: FewLabelsScale, figures: Mapping[str, Figures]) -> list[tuple[int, ArmName, list[int]]]:
    """Number of labels, arm and seeds of all that was measured, in the order of the table."""
    asked = [(labels, arm) for labels in sorted({scale.labels, *scale.curve}) for arm in ARMS]
    seeds = [seeds_with(scale, figures, labels, (arm,)) for labels, arm in asked]
    return [(labels, arm, there) for (labels, arm), there in zip(asked, seeds, strict=True) if there]
