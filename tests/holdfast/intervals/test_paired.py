"""Paired differences by their properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.intervals import Counted, difference


def counted(success, trial=None) -> Counted:
    success = np.asarray(success, dtype=bool)
    return Counted(success, np.ones_like(success) if trial is None else np.asarray(trial, dtype=bool))


@st.composite
def pairs(draw, largest: int = 60) -> tuple[Counted, Counted]:
    n = draw(st.integers(1, largest))
    bits = st.lists(st.booleans(), min_size=n, max_size=n)
    sides = []
    for _ in range(2):
        trial = np.array(draw(bits))
        sides.append(counted(trial & np.array(draw(bits)), trial))
    return sides[0], sides[1]


@given(pairs())
def test_a_difference_lies_in_its_interval_and_turns_with_its_sides(pair) -> None:
    one, other = pair
    there, back = difference(one, other), difference(other, one)
    assert -1 <= there.low <= there.high <= 1
    if one.rate.trials and other.rate.trials:
        assert there.low <= there.estimate <= there.high
        assert there.low < there.high
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


@given(pairs(), st.integers(0, 2**32 - 1))
def test_the_order_of_images_does_not_matter_but_the_pairing_does(pair, seed) -> None:
    order = np.random.default_rng(seed).permutation(len(pair[0].trial))
    shuffled = [Counted(side.success[order], side.trial[order]) for side in pair]
    a, b = difference(*pair), difference(*shuffled)
    assert (a.low, a.high) == pytest.approx((b.low, b.high))


def test_agreeing_images_make_the_interval_narrow() -> None:
    bits = np.arange(300) % 2 == 0
    paired, unpaired = difference(counted(bits), counted(bits)), difference(counted(bits), counted(np.arange(300) % 4 < 2))
    crossed = difference(counted(bits), counted(~bits))
    assert paired.high < 0.02
    assert paired.high < unpaired.high < crossed.high
    # Without correlation it is Newcombe's: the root of the sum of the squares of Wilson's.
    low, high = counted(bits).rate.interval
    assert unpaired.high == pytest.approx(np.hypot(high - 0.5, 0.5 - low), rel=0.02)


def test_of_what_was_never_tried_nothing_is_known() -> None:
    untried, none = counted([False] * 10, [False] * 10), counted([False] * 10)
    found = difference(untried, none)
    assert np.isnan(found.estimate)
    assert (found.low, found.high) == (-1, 1)


def sampled(random: np.random.Generator, n: int, cells) -> tuple[Counted, Counted]:
    """Rows drawn image by image: each cell is (chance, right of one, held of one, right of other, held of other)."""
    chances = np.array([cell[0] for cell in cells])
    drawn = np.array([cell[1:] for cell in cells], dtype=bool)[random.choice(len(cells), n, p=chances)].T
    return Counted(drawn[1] & drawn[0], drawn[0]), Counted(drawn[3] & drawn[2], drawn[2])


CELLS = {
    "alike": [
        (0.1, 0, 0, 0, 0),
        (0.4, 1, 1, 1, 1),
        (0.3, 1, 0, 1, 0),
        (0.1, 1, 1, 1, 0),
        (0.05, 0, 0, 1, 1),
        (0.05, 1, 0, 0, 0),
    ],
    "apart": [(0.1, 0, 0, 1, 1), (0.3, 1, 1, 1, 0), (0.1, 1, 0, 1, 1), (0.3, 1, 1, 0, 0), (0.2, 1, 0, 1, 0)],
    "one near zero": [(0.2, 0, 0, 0, 0), (0.5, 1, 0, 1, 0), (0.28, 1, 1, 1, 0), (0.02, 1, 0, 1, 1)],
}


@pytest.mark.parametrize("cells", CELLS.values(), ids=CELLS)
def test_the_interval_holds_the_truth_19_times_of_20(cells) -> None:
    random = np.random.default_rng(0)

    def dsr(place: int) -> float:
        return sum(c[0] for c in cells if c[place] and c[place + 1]) / sum(c[0] for c in cells if c[place])

    truth, found = dsr(1) - dsr(3), [difference(*sampled(random, 200, cells)) for _ in range(1500)]
    covered = np.mean([d.low <= truth <= d.high for d in found])
    assert 0.93 <= covered <= 0.985


@pytest.mark.parametrize("cells", CELLS.values(), ids=CELLS)
def test_the_interval_is_about_that_of_the_paired_bootstrap(cells) -> None:
    random = np.random.default_rng(1)
    one, other = sampled(random, 1000, cells)
    rows = random.integers(0, 1000, (4000, 1000))
    estimates = one.success[rows].sum(1) / one.trial[rows].sum(1) - other.success[rows].sum(1) / other.trial[rows].sum(1)
    found = difference(one, other)
    assert (found.low, found.high) == pytest.approx(np.quantile(estimates, [0.025, 0.975]), abs=0.006)


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="some of the trials"):
        counted([True, False], [False, True])
    with pytest.raises(ValueError, match="cannot be paired"):
        difference(counted([True]), counted([True, False]))
