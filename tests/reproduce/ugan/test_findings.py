"""What is said of few labels, judged on made-up answers: the claims, and the tables and pictures that show them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reproduce.kept_results import written
from reproduce.ugan.findings import findings_of, untried
from reproduce.ugan.picture import draw_curve, draw_sheet
from reproduce.ugan.scales import ARMS, CI, COLOUR, SCALES, SMALL
from reproduce.ugan.tables import tables
from reproduce.ugan.trainings import FewLabelsRun, runs_of, training_of
from reproduce.verdicts import Word

N = 2000


def measured(accuracy, seed, *, knn=None, bad=False):
    rng = np.random.default_rng(seed)
    rates = {"head": accuracy, "knn": accuracy if knn is None else knn, "knn_pseudo": accuracy, "abstained": 0.05}
    found = {name: written(rng.random(N) < rate) for name, rate in rates.items()}
    if bad:
        shares = {name: written(rng.random(50) < 0.5) for name in ("abstained", "far", "far_test")}
        found["bad"] = shares | {"distance_area": 0.9, "lse_area": 0.8}
    return found | {"seconds": 60.0, "guessed": 10, "guessed_right": 9}


def figures(scale=SMALL, **accuracies):
    """Of every training of a scale, at one accuracy for each arm."""
    rates = {"supervised": 0.8, "good": 0.95, "bad": 0.95, "ugan": 0.95} | accuracies
    return {
        run.name: measured(rates[run.arm], number, bad=run.arm in {"bad", "ugan"}) for number, run in enumerate(runs_of(scale))
    }


def words(found, number):
    return [finding.word for finding in found if finding.claim.startswith(f"({number})")]


def test_claims_hold_fail_or_stay_open_by_their_intervals() -> None:
    found = findings_of(SMALL, figures())
    assert set(words(found, 1)) == {Word.HOLDS}
    assert words(findings_of(SMALL, figures(ugan=0.81)), 1)[0] == Word.FAILS
    assert words(findings_of(SMALL, figures(supervised=0.9)), 1)[0] == Word.OPEN
    assert words(findings_of(SMALL, figures(ugan=0.9)), 3)[0] == Word.FAILS
    assert words(findings_of(SMALL, figures(ugan=0.97)), 3)[0] == Word.HOLDS
    assert len(words(found, 2)) == 1
    longer = replace(SMALL, curve=(20, 50, 200))
    assert len(words(findings_of(longer, figures(longer)), 2)) == 2  # 200 labels are not few
    assert len(words(found, 4)) == 3


def test_of_one_seed_the_worst_is_not_known() -> None:
    found = findings_of(CI, figures(CI, ugan=0.99))
    assert words(found, 2) == [Word.OPEN]
    assert words(found, 1) == [Word.HOLDS]


@settings(max_examples=20)
@given(st.sets(st.sampled_from([run.name for run in runs_of(SMALL)])))
def test_whatever_is_trained_so_far_is_shown_and_the_rest_is_said_to_be_missing(there) -> None:
    some = {name: value for name, value in figures().items() if name in there}
    findings_of(SMALL, some)
    assert set(untried(SMALL, some)) == {run.name for run in runs_of(SMALL)} - there
    shown = "".join(table for _, table in tables(SMALL, some))
    assert all((f"| {run.labels} |" in shown) for run in runs_of(SMALL) if run.name in there)


def test_the_first_seed_of_all_arms_comes_first() -> None:
    runs = runs_of(SMALL)
    assert [(run.arm, run.seed) for run in runs[:4]] == [(arm, 0) for arm in ARMS]
    assert len({run.name for run in runs}) == len(runs) == 12 + 6


@pytest.mark.parametrize("scale", SCALES.values(), ids=lambda scale: scale.name)
def test_every_training_can_be_served_and_differs_in_what_is_compared_alone(scale, tmp_path) -> None:
    configs = [training_of(run, scale, tmp_path, None).config for run in runs_of(scale)]
    for run, config in zip(runs_of(scale), configs, strict=True):
        smallest = run.labels // 10
        assert config.k < 2 * smallest
        assert (config.labels, config.seed) == (run.labels, run.seed)
        assert config.out == tmp_path / run.name
    assert len({(config.encoder, config.stages[0].steps, config.stages[0].learning_rate) for config in configs}) == 1


def test_in_colour_two_arms_are_compared_and_nothing_else_is_missed() -> None:
    there = figures(COLOUR)
    assert untried(COLOUR, there) == []
    found = findings_of(COLOUR, there)
    assert [len(words(found, number)) for number in (1, 2, 3, 4)] == [1, 0, 0, 3]
    objectives = [training_of(run, COLOUR, Path("out"), None).config.stages[0].objective for run in runs_of(COLOUR)]
    assert [objective.arm for objective in objectives] == ["supervised", "ugan"]
    assert {(objective.consistency, objective.networks) for objective in objectives} == {(0.5, "convolutional")}


def test_pictures_are_drawn(tmp_path) -> None:
    draw_curve(tmp_path / "curve.png", SMALL, figures())
    kinds = [np.full((30, 8, 8, 3), value, np.uint8) for value in (0, 100)] + [np.zeros((0, 8, 8, 3), np.uint8)]
    draw_sheet(tmp_path / "sheet.png", kinds)
    for name in ("curve.png", "sheet.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 100
    assert FewLabelsRun("ugan", 100, 0).name in figures()
