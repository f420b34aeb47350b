"""Feature-shift certificates against moved embeddings, and against the formula itself, on small banks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.model.judgement.feature_shift import FARTHEST_MOVE, feature_shift_radius
from holdfast.model.retrieval.base import Bank, nearest
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.vote import VoteParameters, vote

CLASSES = 3
votes = st.sampled_from(
    [
        VoteParameters(k=5),
        VoteParameters(k=5, weighting="exponential", temperature=0.05),
        VoteParameters(k=5, weighting="exponential", temperature=1.0, prior_correction=1, class_weights=(1.0, 0.3, 0.6)),
    ]
)


def on_sphere(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    z = rng.standard_normal((count, dim)).astype(np.float32)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


class Small:
    """A bank whose classes lie in clusters, its index, and queries near it."""

    def __init__(self, seed: int, exemplars: int = 40, queries: int = 4, dim: int = 3) -> None:
        rng = np.random.default_rng(seed)
        centres, self.labels = on_sphere(rng, CLASSES, dim), rng.integers(0, CLASSES, exemplars)
        z = centres[self.labels] + rng.uniform(0.05, 0.8) * on_sphere(rng, exemplars, dim)
        self.bank = (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)
        self.index = FlatIndex.build(Bank(self.bank, np.arange(exemplars), self.labels))
        self.queries, self.rng = on_sphere(rng, queries, dim), rng

    def answers(self, queries: np.ndarray, parameters: VoteParameters) -> np.ndarray:
        near = nearest(self.index, queries, parameters.k)
        return vote(near.similarities, near.labels, CLASSES, parameters).labels

    def radius(self, parameters: VoteParameters, looked_at: int) -> np.ndarray:
        found = self.index.search(self.queries, looked_at)
        answered = self.answers(self.queries, parameters)
        complete = looked_at >= len(self.bank)
        return feature_shift_radius(found.similarities, found.labels, answered, CLASSES, parameters, complete=complete)

    def moved(self, row: int, most: float, count: int = 60) -> np.ndarray:
        """Embeddings of unit length at distances of up to `most` from one query, most of them near the rim."""
        z, angle = self.queries[row], 2 * np.arcsin(min(most / 2, 1))
        aside = on_sphere(self.rng, count, len(z))
        aside[: len(self.bank)] = self.bank[: len(aside)]  # towards exemplars, where answers change first
        aside = aside - (aside @ z)[:, np.newaxis] * z
        aside /= np.maximum(np.linalg.norm(aside, axis=1, keepdims=True), 1e-6)
        turned = angle * self.rng.uniform(0.8, 1, (count, 1))
        return (np.cos(turned) * z + np.sin(turned) * aside).astype(np.float32)


@given(st.integers(0, 2**32 - 1), votes, st.sampled_from([6, 12, 40]))
@settings(max_examples=60, deadline=None)
def test_no_move_within_it_changes_the_served_answer(seed, parameters, looked_at) -> None:
    small = Small(seed)
    answered, radius = small.answers(small.queries, parameters), small.radius(parameters, looked_at)
    for row in np.flatnonzero(radius > 1e-3):
        moved = small.moved(row, radius[row] - 1e-4)
        assert (small.answers(moved, parameters) == answered[row]).all()


def formula(distances: np.ndarray, labels: np.ndarray, answered: int, k: int, move: float) -> bool:
    """The certificate of an unweighted vote, word by word."""
    sure = [(np.delete(distances, i) <= distances[i] + 2 * move).sum() < k for i in range(len(labels))]
    possible = [(distances < distances[i] - 2 * move).sum() < k for i in range(len(labels))]
    own = sum(s for s, label in zip(sure, labels, strict=True) if label == answered)
    others = [sum(p for p, label in zip(possible, labels, strict=True) if label == c) for c in range(CLASSES) if c != answered]
    return own > max(min(count, k - own) for count in others)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_without_weights_it_is_what_the_formula_gives(seed) -> None:
    parameters, small = VoteParameters(k=5), Small(seed)
    answered, radius = small.answers(small.queries, parameters), small.radius(parameters, 40)
    distances = np.sqrt(np.maximum(2 - 2 * small.queries.astype(np.float64) @ small.bank.T, 0))
    for row in range(len(radius)):
        if radius[row] > 0:
            assert formula(distances[row], small.labels, answered[row], 5, radius[row])
        assert not formula(distances[row], small.labels, answered[row], 5, radius[row] + 0.007)


@given(st.integers(0, 2**32 - 1), votes)
@settings(max_examples=30, deadline=None)
def test_a_shorter_list_proves_no_more(seed, parameters) -> None:
    small = Small(seed)
    short, longer, whole = (small.radius(parameters, looked_at) for looked_at in (6, 15, 40))
    assert (short <= longer + 1e-5).all()
    assert (longer <= whole + 1e-5).all()


@pytest.mark.parametrize("found", [0, 2])
def test_with_fewer_exemplars_than_votes_no_move_takes_one_away(found) -> None:
    similarities, labels = np.full((1, 5), -np.inf, np.float32), np.full((1, 5), -1)
    similarities[0, :found], labels[0, :found] = 0.5, 1
    parameters = VoteParameters(k=5)
    radius = feature_shift_radius(similarities, labels, np.array([1]), CLASSES, parameters, complete=True)
    assert radius.tolist() == [FARTHEST_MOVE if found else 0.0]
