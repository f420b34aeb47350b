"""What an interval says to a claim, in words, for a page and for a file."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.intervals import Difference
from reproduce.differences import difference_of, difference_over_seeds
from reproduce.verdicts import Finding, Word, findings_markdown, findings_table

figures = st.lists(st.floats(-1, 1), min_size=1, max_size=6)


@given(figures, st.floats(-1, 1))
def test_what_every_seed_gains_alike_is_certain_from_two_seeds_on(values, gain):
    found = difference_over_seeds([value + gain for value in values], values)
    assert found.estimate == pytest.approx(gain, abs=1e-9)
    if len(values) > 1:
        assert found.high - found.low < 1e-6
    else:
        assert (found.low, found.high) == (-np.inf, np.inf)


def test_the_interval_over_seeds_is_students():
    found = difference_over_seeds([0.5, 0.7, 0.9], [0.4, 0.5, 0.6])
    assert found.estimate == pytest.approx(0.2)
    assert found.high - found.estimate == pytest.approx(4.30265 * 0.1 / 3**0.5, rel=1e-5)


@pytest.mark.parametrize("sides", [([], []), ([0.1], [0.1, 0.2])])
def test_seeds_that_cannot_be_paired_are_refused(sides):
    with pytest.raises(ValueError, match="paired"):
        difference_over_seeds(*sides)


def test_a_bootstrap_draws_the_same_units_for_both():
    noise = np.random.default_rng(0).normal(size=200)
    found = difference_of(lambda rows: float(noise[rows].mean()) + 0.1, lambda rows: float(noise[rows].mean()), 200)
    assert found.low == pytest.approx(0.1)
    assert found.high == pytest.approx(0.1)
    alone = difference_of(lambda rows: float(noise[rows].mean()), lambda _: 0.0, 200)
    assert alone.low < noise.mean() < alone.high


def test_a_finding_of_one_seed_is_not_decided_and_can_be_kept():
    one = Finding("a exceeds b", "-", "accuracy", difference_over_seeds([0.9], [0.1]))
    assert one.word == Word.OPEN
    kept = json.loads(json.dumps(one.described(), allow_nan=False))
    assert kept["interval"] == [None, None]
    assert kept["verdict"] == "not decided"


def test_the_table_shows_every_claim_with_its_verdict():
    findings = [
        Finding("more", "1 : 0", "accuracy", Difference(0.1, 0.05, 0.15), 0.02),
        Finding("less", "-", "accuracy", Difference(-0.1, -0.15, -0.05)),
    ]
    assert findings_table(findings).row_count == 2
    rows = findings_markdown(findings).splitlines()
    assert len(rows) == 4
    assert "**holds**" in rows[2]
    assert "**does not hold**" in rows[3]
