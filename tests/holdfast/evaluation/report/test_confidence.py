from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.evaluation.report import auroc, by_class, detection_curve, ranked, reliability, selective, validity
from holdfast.evaluation.report.plots.charts import at_or_below
from holdfast.model.credibility import calibrate
from holdfast.model.credibility import credibility as credibility_of

ANSWERS = st.lists(st.tuples(st.integers(1, 20).map(lambda i: i / 20), st.booleans()), min_size=1, max_size=60)


def columns(answers):
    credible, right = zip(*answers, strict=True)
    return np.array(credible), np.array(right)


@given(ANSWERS)
def test_selective_is_what_each_threshold_answers(answers):
    credible, right = columns(answers)
    points = selective(credible, right)
    assert [point.credibility for point in points] == sorted(set(credible), reverse=True)
    for point in points:
        answered = credible >= point.credibility
        assert point.coverage == pytest.approx(answered.mean())
        assert point.error == pytest.approx(1 - right[answered].mean())
    assert (points[-1].coverage, points[-1].error) == (1, pytest.approx(1 - right.mean()))


SCORES = st.lists(st.integers(0, 6).map(float), max_size=12).map(np.array)


@given(SCORES, SCORES)
def test_the_area_is_the_chance_that_a_right_answer_is_trusted_more(right, wrong):
    pairs = [(r > w) + (r == w) / 2 for r in right for w in wrong]
    expected = np.mean(pairs) if pairs else None
    assert auroc(right, wrong) == (None if expected is None else pytest.approx(expected))


@given(SCORES.filter(len), SCORES, SCORES)
def test_a_detector_flags_what_lies_above_the_threshold_of_each_rate(usual, ignoring, aiming):
    points = detection_curve(usual, ignoring, aiming)
    assert [point.false_alarms for point in points] == sorted({point.false_alarms for point in points})
    for point in points[:-1]:
        allowed = [t for t in usual if (usual > t).mean() <= point.false_alarms + 1e-9]
        for said, scores in ((point.ignoring, ignoring), (point.aiming, aiming)):
            assert said == (pytest.approx((scores > min(allowed)).mean()) if len(scores) else None)


@given(ANSWERS)
def test_a_ranking_by_credibility_is_error_against_coverage(answers):
    credible, right = columns(answers)
    for one, other in zip(ranked(credible, right), selective(credible, right), strict=True):
        assert (one.coverage, one.error) == (pytest.approx(other.coverage), pytest.approx(other.error))


def test_a_long_ranking_is_thinned_and_keeps_its_ends():
    trust, right = np.arange(1000.0), np.arange(1000) % 7 > 0
    points = ranked(trust, right)
    assert 50 < len(points) <= 100
    assert points[0].coverage == 1 / 1000
    assert points[-1].coverage == 1
    assert points[-1].error == pytest.approx(1 - right.mean())


@given(ANSWERS, st.integers(1, 20))
def test_every_answer_is_in_the_bin_that_holds_its_credibility(answers, bins):
    credible, right = columns(answers)
    found = reliability(credible, right, bins=bins)
    assert [one.high for one in found[:-1]] == [one.low for one in found[1:]]
    assert (found[0].low, found[-1].high) == (0, 1)
    for one in found:
        inside = (credible > one.low) & (credible <= one.high)
        assert (one.accuracy.successes, one.accuracy.trials) == (right[inside].sum(), inside.sum())
    for edge, share in at_or_below(found):
        assert share.value == pytest.approx((credible <= edge).mean())


def test_without_calibration_there_is_nothing_to_tell():
    nothing, right = np.full(3, np.nan), np.ones(3, bool)
    assert selective(nothing, right) == reliability(nothing, right) == ()


@pytest.mark.parametrize("wrong", [[0.5, np.nan], [0.0, 1.0], [0.5, 1.1], [0.5]])
@pytest.mark.parametrize("of", [selective, reliability])
def test_what_is_no_credibility_is_refused(of, wrong):
    with pytest.raises(ValueError, match="credibility"):
        of(np.array(wrong), np.ones(2, bool))


def test_the_page_holds_credibility_to_what_it_promises():
    """On exchangeable images, at most a share e has a credibility of at most e; the page's plot rests on that."""
    rng = np.random.default_rng(0)
    counts, labels = rng.multinomial(15, [0.6, 0.3, 0.1], size=8000), rng.choice(3, 8000, p=[0.6, 0.3, 0.1])
    shares, answered = counts / 15, counts.argmax(1)
    calibration = calibrate(shares[:4000], answered[:4000], labels[:4000])
    credible, _ = credibility_of(shares[4000:], answered[4000:], calibration)
    bins = reliability(credible, answered[4000:] == labels[4000:])
    assert all(share.low <= edge for edge, share in at_or_below(bins))


def test_validity_counts_true_labels_and_answers():
    p = np.array([[0.04, 0.9], [0.5, 0.05], [0.06, 0.2]])
    points = validity(p, labels=np.array([0, 1, 0]), answered=np.array([1, 0, 1]), levels=(0.05, 0.1, 0.6))
    assert [point.true_labels.successes for point in points] == [2, 3, 3]
    assert [point.answers.successes for point in points] == [0, 0, 2]
    assert {point.answers.trials for point in points} == {3}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=40))
def test_classes_are_counted_one_by_one(rows):
    """Against a loop over images; class 3 has no exemplar."""
    labels, answered, abstain = (
        np.array(column, dtype=kind)
        for column, kind in zip(zip(*rows, strict=True) if rows else ((), (), ()), (np.int64, np.int64, bool), strict=True)
    )
    classes = by_class(SimpleNamespace(labels=answered, abstain=abstain), labels, np.array([5, 3, 1, 0]))
    assert [one.exemplars for one in classes] == [5, 3, 1, 0]
    for one in classes:
        own = [(answer, silent) for label, answer, silent in rows if label == one.label]
        assert (one.accuracy.successes, one.accuracy.trials) == (sum(a == one.label for a, _ in own), len(own))
        assert (one.coverage.successes, one.coverage.trials) == (sum(not silent for _, silent in own), len(own))
        said = [label for label, answer, silent in rows if answer == one.label and not silent]
        assert (one.precise.successes, one.precise.trials) == (said.count(one.label), len(said))
    assert sum(one.accuracy.trials for one in classes) == len(rows)
