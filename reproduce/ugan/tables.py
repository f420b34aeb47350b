"""The tables, in Markdown: accuracy by arm and number of labels, and what is told from the set."""

from collections.abc import Mapping

import numpy as np

from holdfast.intervals import Rate
from reproduce.kept_results import Figures, read
from reproduce.markdown import grid, percent
from reproduce.ugan.findings import bits_of, counted, measured_runs
from reproduce.ugan.measuring import PSEUDO
from reproduce.ugan.scales import FewLabelsScale
from reproduce.ugan.trainings import TITLES, FewLabelsRun


def tables(scale: FewLabelsScale, figures: Mapping[str, Figures]) -> list[tuple[str, str]]:
    """Title and table of all that was measured."""
    found = [("Accuracy from few labels", accuracy_table(scale, figures)), ("Generated images", strange_table(scale, figures))]
    return [(title, table) for title, table in found if table]


def accuracy_table(scale: FewLabelsScale, figures: Mapping[str, Figures]) -> str:
    """A row for each arm and number of labels: classifier, votes, and how many labels were guessed, how many rightly."""
    rows = []
    for labels, arm, seeds in measured_runs(scale, figures):
        of_seeds = [figures[FewLabelsRun(arm, labels, seed).name] for seed in seeds]
        rates = [counted(bits_of(figures, arm, labels, seeds, name)).rate for name in ("head", "knn", "knn_pseudo")]
        each = " ".join(f"{100 * bits.mean():.1f}" for bits in bits_of(figures, arm, labels, seeds, "head"))
        guessed = Rate(sum(f["guessed_right"] for f in of_seeds), sum(f["guessed"] for f in of_seeds))
        right = f"{guessed.trials // len(seeds):,}: {percent(guessed)}" if guessed.trials else "0"
        minutes = np.mean([f["seconds"] for f in of_seeds]) / 60
        rows.append([str(labels), TITLES[arm], *map(percent, rates), each, right, f"{minutes:.0f}"])
    headings = ["labels", "arm", "classifier", "kNN", f"kNN, guessed above {PSEUDO:g}", "each seed", "guessed: right", "min"]
    return grid(headings, rows) if rows else ""


def strange_table(scale: FewLabelsScale, figures: Mapping[str, Figures]) -> str:
    """What the product says of the bad generator's images, and of test images."""
    rows = []
    for labels, arm, seeds in measured_runs(scale, figures):
        of_seeds = [figures[FewLabelsRun(arm, labels, seed).name] for seed in seeds]
        if any("bad" not in each for each in of_seeds):
            continue
        bad = [each["bad"] for each in of_seeds]
        shares = [
            counted([read(each["abstained"]) for each in bad]).rate,
            counted([read(each["abstained"]) for each in of_seeds]).rate,
            counted([read(each["far"]) for each in bad]).rate,
            counted([read(each["far_test"]) for each in bad]).rate,
        ]
        areas = [" ".join(f"{each[name]:.3f}" for each in bad) for name in ("distance_area", "lse_area")]
        rows.append([str(labels), TITLES[arm], *map(percent, shares), *areas])
    headings = [
        *("labels", "arm", "abstains on generated", "on test images", "distance p <= .05, generated", "test images"),
        *("AUC, k-th distance", "AUC, LSE"),
    ]
    return grid(headings, rows) if rows else ""
