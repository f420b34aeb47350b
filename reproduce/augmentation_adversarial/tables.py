"""The table of all arms, for the terminal and as Markdown, and the picture."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from rich.table import Table

from holdfast.evaluation.speech.conditions import CLEAN
from holdfast.files import replace_atomically
from holdfast.intervals import Rate
from reproduce.arms import Arm
from reproduce.augmentation_adversarial.claims import Arms
from reproduce.augmentation_adversarial.measuring import IDENTIFIED, NOISY, VERIFIED, SpeechArmFigures
from reproduce.markdown import grid, percent

HEADINGS = (
    "training",
    "probe",
    *(f"EER, {condition}" for condition in VERIFIED),
    *(f"minDCF, {condition}" for condition in VERIFIED),
    *(f"identified, {condition}" for condition in IDENTIFIED),
)


def probe_rate(figures: SpeechArmFigures) -> Rate:
    """How often the probe is right; 50 % is chance."""
    return Rate(int(figures.probed.right.sum()), len(figures.probed.right))


def row(arm: Arm, figures: SpeechArmFigures) -> tuple[str, ...]:
    """What is shown of one arm: rates in percent, identification with its interval."""
    right = [figures.right[condition] for condition in IDENTIFIED]
    return (
        arm.title,
        f"{100 * probe_rate(figures).value:.1f}",
        *(f"{100 * figures.scores[condition].equal_error_rate:.1f}" for condition in VERIFIED),
        *(f"{figures.scores[condition].least_cost:.2f}" for condition in VERIFIED),
        *(percent(Rate(int(bits.sum()), len(bits))) for bits in right),
    )


def arms_table(arms: Sequence[Arm], measured: Arms) -> Table:
    """For the terminal."""
    shown = Table(title="speakers that no arm has heard", title_justify="left")
    for place, heading in enumerate(HEADINGS):
        shown.add_column(heading, justify="right" if place else "left")
    for arm in arms:
        if arm.name in measured:
            shown.add_row(*row(arm, measured[arm.name]))
    return shown


def arms_markdown(arms: Sequence[Arm], measured: Arms) -> str:
    """To paste into a page."""
    return grid(HEADINGS, [row(arm, measured[arm.name]) for arm in arms if arm.name in measured])


def draw(path: Path, arms: Sequence[Arm], measured: Arms) -> None:
    """Bars of the equal error rate in both conditions, and of the probe's accuracy, for each arm; its seeds side by side."""
    kinds = list(dict.fromkeys(arm.config.stages[0].name for arm in arms))
    shown = sorted((arm for arm in arms if arm.name in measured), key=lambda arm: kinds.index(arm.config.stages[0].name))
    places = np.arange(len(shown))
    figure, (errors, probes) = plt.subplots(1, 2, figsize=(11, 0.4 * len(shown) + 1.8), sharey=True, layout="constrained")
    for shift, condition, colour in ((-0.2, CLEAN, "#3b6fb6"), (0.2, NOISY, "#c8553d")):
        rates = [100 * measured[arm.name].scores[condition].equal_error_rate for arm in shown]
        errors.barh(places + shift, rates, 0.38, color=colour, label=condition)
    errors.set_xlabel("equal error rate across channels, %")
    errors.set_yticks(places, [arm.title for arm in shown])
    # Above the bars: they may reach anywhere within the axes.
    errors.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
    probes.barh(places, [100 * probe_rate(measured[arm.name]).value for arm in shown], 0.6, color="#6a8f5b")
    probes.axvline(50, color="black", linewidth=0.8, linestyle=":")
    probes.set_xlim(40, 100)
    probes.set_xlabel("probe: one augmentation or two, % right")
    errors.invert_yaxis()
    for axes in (errors, probes):
        axes.spines[["top", "right"]].set_visible(False)
    with replace_atomically(path) as temporary:
        figure.savefig(temporary, dpi=130)
    plt.close(figure)
