import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.evaluation.report import reliability, selective
from holdfast.evaluation.report.plots.charts import at_or_below
from holdfast.model.credibility import calibrate
from holdfast.model.credibility import credibility as credibility_of

ANSWERS = st.lists(st.tuples(st.integers(1, 20).map(lambda i: i / 20), st.booleans()), min_size=1, max_size=60)


def columns(answers):
    credible, right = zip(*answers, strict=True)
    return np.array(credible), np.array(right)


@settings(deadline=None)
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


@settings(deadline=None)
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
