"""Claims from made-up figures: what holds, what does not, what is not decided, and what was not tried."""

from dataclasses import replace

import numpy as np
import pytest

from reproduce.kept_results import written
from reproduce.self_adaptive.findings import LabelAudit, audits_of, findings_of, untried
from reproduce.self_adaptive.scales import CI, LOOKS, SCALES
from reproduce.self_adaptive.selective import ABSTAIN, CREDIBILITY, SOFTMAX
from reproduce.self_adaptive.tables import tables
from reproduce.self_adaptive.trainings import ABSTAINING, TRADES, TRADES_ADAPTED, AdaptiveTrainings, adapted_name, plain_name
from reproduce.verdicts import Word

RANDOM = np.random.default_rng(0)


def bits(share: float, number: int = 2000) -> str:
    """So many, of which the first are right: the same images whenever two shares are compared."""
    return written(np.arange(number) < share * number)


def noisy(head: float, before: float, *, adapted: bool) -> dict:
    votes = {str(k): bits(head) for k in CI.ks}
    figures = {
        "curve": [[30 * (look + 1), head] for look in range(LOOKS)],
        "before": bits(before),
        "head": bits(head),
        "knn": votes,
        "given": bits(0.64),
        "disagrees": written(np.arange(2000) >= 1400),
        "seconds": 1.0,
    }
    believed = {"believed": bits(0.9), "doubted": written(np.arange(2000) >= 1300), "knn_adapted": votes}
    return figures | (believed if adapted else {})


def scored(wrong: np.ndarray, scores: np.ndarray) -> dict:
    kept = {"wrong": written(wrong), "scores": scores.tolist()}
    return kept | {f"attacked_{name}": value for name, value in kept.items()}


def ranked(**scores) -> dict:
    titles = {"softmax": SOFTMAX, "abstain": ABSTAIN, "credibility": CREDIBILITY}
    return {"scores": {titles[name]: kept for name, kept in scores.items()}, "seconds": 1.0}


@pytest.fixture
def figures() -> dict:
    wrong = np.arange(400) % 10 == 0
    good, poor = wrong * -1.0 + np.arange(400) * 1e-6, RANDOM.random(400)
    return {
        plain_name(0.4): noisy(0.6, 0.7, adapted=False),
        adapted_name(0.4): noisy(0.8, 0.8, adapted=True),
        f"scores-{plain_name(0)}": ranked(softmax=scored(wrong, poor), credibility=scored(wrong, poor)),
        f"scores-{ABSTAINING}": ranked(
            softmax=scored(wrong, good), abstain=scored(wrong, poor), credibility=scored(wrong, poor)
        ),
        TRADES: {"head": bits(0.85), "robust": bits(0.5), "seconds": 1.0},
        TRADES_ADAPTED: {"head": bits(0.83), "robust": bits(0.5), "seconds": 1.0},
    }


def verdicts(figures, scale=CI) -> dict[str, Word]:
    return {finding.claim.split(",")[-1].strip(): finding.word for finding in findings_of(scale, figures)}


def test_each_claim_is_judged_by_its_own_figures(figures) -> None:
    said = [finding.word for finding in findings_of(CI, figures)]
    by_number = {n: [f.word for f in findings_of(CI, figures) if f.claim.startswith(f"({n})")] for n in range(1, 6)}
    assert by_number[1] == [Word.HOLDS, Word.HOLDS]
    assert by_number[2] == [Word.HOLDS, Word.HOLDS]
    assert by_number[3] == [Word.HOLDS]
    assert by_number[4] == [Word.OPEN, Word.HOLDS, Word.FAILS]
    assert by_number[5] == [Word.OPEN, Word.HOLDS]
    assert len(said) == 12


def test_a_fall_of_the_adapted_is_seen(figures) -> None:
    figures[adapted_name(0.4)] = noisy(0.7, 0.8, adapted=True)
    assert [f.word for f in findings_of(CI, figures) if f.claim.startswith("(2)")] == [Word.HOLDS, Word.FAILS]


def test_what_was_not_trained_is_not_judged_and_is_said(figures) -> None:
    assert untried(CI, figures) == ["noise of 10 %"]
    del figures[TRADES]
    figures.pop(plain_name(0.4))
    assert untried(CI, figures) == ["noise of 40 %", "noise of 10 %", "TRADES"]
    assert not [f for f in findings_of(CI, figures) if f.claim[:3] in {"(1)", "(2)", "(3)", "(5)"}]
    assert findings_of(CI, {}) == []
    assert tables(CI, {}, 10) == []


def test_audits_are_counted_on_the_wrong_labels(figures) -> None:
    audit = LabelAudit("x", np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 1], bool))
    assert (audit.precision.rate.value, audit.recall.rate.value) == (0.5, 1 / 3)
    found = {audit.title: audit.recall.rate.value for audit in audits_of(0.4, figures)}
    assert found["adapted targets"] == pytest.approx(700 / 720)
    assert found["neighbours, encoder of self-adaptive"] == pytest.approx(600 / 720)


def test_tables_show_both_rates_of_noise(figures) -> None:
    shown = dict(tables(CI, figures, 10))
    assert "40 (36 wrong)" in shown["Accuracy on noisy labels"]
    assert shown["Accuracy on noisy labels"].count("self-adaptive") == 2
    assert shown["Errors at a coverage"].count("attacked") == 5
    assert "50.0 [" in shown["Attacked"]


@pytest.mark.parametrize("scale", SCALES.values(), ids=list(SCALES))
def test_every_scale_describes_trainings_that_differ_in_what_is_compared(scale, tmp_path) -> None:
    trainings = AdaptiveTrainings(scale, tmp_path, None)
    arms = [arm for rate in scale.rates for arm in trainings.noisy(rate)]
    arms += [trainings.clean, trainings.abstaining, *trainings.adversarial, *trainings.label_free]
    assert len({arm.name for arm in arms}) == len(arms)
    assert scale.steps % LOOKS == 0
    for rate in scale.rates:
        plain, adapted = trainings.noisy(rate)
        same = replace(adapted.config.stages[0], objective=plain.config.stages[0].objective)
        assert plain.config == replace(adapted.config, out=plain.config.out, stages=(same,))
        assert plain.config.label_noise == rate
    for arm in trainings.adversarial:
        assert arm.config.stages[:-1] == trainings.clean.config.stages
