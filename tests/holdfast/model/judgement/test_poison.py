"""Poison tolerance against every insertion there is, on small votes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.model.judgement.poison import NOT_KNOWN, poison_tolerance
from holdfast.model.vote import VoteParameters, vote

CLASSES = 3
GRID = [-0.5, 0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99]
votes = st.sampled_from(
    [
        VoteParameters(k=7),
        VoteParameters(k=7, weighting="exponential", temperature=0.1),
        VoteParameters(k=7, weighting="exponential", temperature=0.002),
        VoteParameters(k=7, prior_correction=1, class_weights=(1.0, 0.25, 0.5)),
        VoteParameters(k=7, weighting="exponential", temperature=0.5, prior_correction=1, class_weights=(0.1, 1.0, 0.5)),
    ]
)


@st.composite
def neighbours(draw):
    """Similarities [N, 7], the largest first, and labels [N, 7], with -1 at the end of some rows."""
    n = draw(st.integers(1, 4))
    values = st.sampled_from(GRID) | st.floats(-1, 1 - 2**-10, width=32)
    similarities = np.array([draw(st.lists(values, min_size=7, max_size=7)) for _ in range(n)], dtype=np.float32)
    labels = np.array([draw(st.lists(st.integers(0, CLASSES - 1), min_size=7, max_size=7)) for _ in range(n)])
    similarities = np.round(-np.sort(-similarities, axis=1), 5)
    for row in range(n):
        found = draw(st.sampled_from([7, 7, 7, 4, 1, 0]))
        labels[row, found:], similarities[row, found:] = -1, -np.inf
    return similarities, labels


def overturned(image, parameters, inserted, label) -> bool:
    """Whether so many copies of the image itself, of one label, change the served vote of one image."""
    similarities, labels, answered = image
    kept = len(labels) - inserted
    nearest = np.concatenate([np.ones(inserted, np.float32), similarities[:kept]])[np.newaxis]
    of = np.concatenate([np.full(inserted, label), labels[:kept]])[np.newaxis]
    return vote(nearest, of, CLASSES + 1, parameters).labels[0] != answered


@given(neighbours(), votes)
@settings(max_examples=150)
def test_it_is_the_number_that_trying_every_insertion_gives(found, parameters) -> None:
    similarities, labels = found
    answered = vote(similarities, labels, CLASSES, parameters).labels
    tolerance = poison_tolerance(similarities, labels, answered, CLASSES, parameters)
    for row in range(len(labels)):
        if labels[row, 0] < 0:
            assert tolerance[row] == NOT_KNOWN
            continue
        image = similarities[row], labels[row], answered[row]
        falls = [e for e in range(1, 8) if any(overturned(image, parameters, e, label) for label in range(CLASSES + 1))]
        assert tolerance[row] == min(falls) - 1


@given(neighbours(), votes, st.data())
@settings(max_examples=100)
def test_no_insertion_of_fewer_overturns_whatever_it_is(found, parameters, data) -> None:
    similarities, labels = found
    answered = vote(similarities, labels, CLASSES, parameters).labels
    tolerance = poison_tolerance(similarities, labels, answered, CLASSES, parameters)
    for row in np.flatnonzero(tolerance > 0):
        count = data.draw(st.integers(1, int(tolerance[row])))
        poison = np.array(data.draw(st.lists(st.floats(-1, 1, width=32), min_size=count, max_size=count)), np.float32)
        named = np.array(data.draw(st.lists(st.integers(0, CLASSES), min_size=count, max_size=count)))
        nearest, of = np.concatenate([poison, similarities[row]]), np.concatenate([named, labels[row]])
        order = np.argsort(-nearest, kind="stable")[:7]
        assert vote(nearest[np.newaxis, order], of[np.newaxis, order], CLASSES + 1, parameters).labels[0] == answered[row]


def test_votes_of_equal_weight_need_half_of_the_lead() -> None:
    similarities = np.full((1, 10), 0.5, np.float32)
    labels = np.array([[0, 1, 0, 0, 0, 0, 0, 0, 1, 1]])  # 7 of 0, and the last two that go first are of 1
    tolerance = poison_tolerance(similarities, labels, np.array([0]), 2, VoteParameters(k=10))
    assert tolerance.tolist() == [3]  # 4 inserted: 6 of class 0 less one, and 5 of class 1, which are nearer
