"""Which classes a vote can answer, against the vote itself."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.model.reach import reach_of
from holdfast.model.vote import VoteParameters, vote

COUNTS = st.lists(st.integers(0, 12), min_size=2, max_size=5).filter(lambda counts: sum(counts) > 0)
VOTES = st.builds(
    VoteParameters,
    k=st.integers(1, 20),
    weighting=st.sampled_from(["uniform", "exponential"]),
    temperature=st.sampled_from([0.05, 0.2]),
    prior_correction=st.sampled_from([0.0, 0.5, 1.0]),
)


def answer(label: int, rival: int, counts: list[int], parameters: VoteParameters, lead: float) -> int:
    """The vote on an image nearest to all of `label`, by `lead`, the rest of whose neighbours are of `rival`."""
    own = min(counts[label], parameters.k)
    others = min(counts[rival], parameters.k - own)
    near = np.array([[0.5] * own + [0.5 - lead] * others], dtype=np.float32)
    return int(vote(near, np.array([[label] * own + [rival] * others]), len(counts), parameters).labels[0])


@given(COUNTS, VOTES)
def test_a_class_wins_with_more_than_the_lead_against_any_other_and_with_less_against_none(counts, parameters) -> None:
    parameters = parameters.corrected(np.array(counts))
    for one in reach_of(np.array(counts), parameters):
        if one.exemplars == 0:
            assert one.out_of_reach
            continue
        rivals = [rival for rival in range(len(counts)) if rival != one.label and counts[rival]]
        enough = min(one.lead + 0.01, 1.4)
        won = [answer(one.label, rival, counts, parameters, enough) == one.label for rival in rivals]
        assert all(won) == (not one.out_of_reach or not rivals)
        if 0.01 < one.lead < math.inf:
            less = [answer(one.label, rival, counts, parameters, one.lead - 0.01) == one.label for rival in rivals]
            assert not all(less)


def test_six_of_sixty_are_out_of_reach_of_fifteen() -> None:
    uniform = reach_of(np.array([60, 60, 6]), VoteParameters(k=15))
    assert [one.out_of_reach for one in uniform] == [False, False, True]
    assert not any(one.out_of_reach for one in reach_of(np.array([60, 60, 6]), VoteParameters(k=12)))
    weighed = reach_of(np.array([60, 60, 6]), VoteParameters(k=15, weighting="exponential", temperature=0.1))
    assert weighed[2].lead == pytest.approx(0.1 * math.log(9 / 6))
