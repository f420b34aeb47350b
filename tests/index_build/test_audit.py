from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.bundle.exemplars import Flag
from holdfast.index_build.audit import disagreement_flags, recall_at_k
from holdfast.model.answers import Neighbours
from holdfast.model.retrieval.base import Bank, padded
from holdfast.model.retrieval.flat import FlatIndex


def embeddings_of(count, dim=4, seed=0, copies=1):
    drawn = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return np.repeat(drawn, copies, axis=0)


def flat(embeddings, labels=None):
    return FlatIndex.build(bank_of(embeddings, labels))


def bank_of(embeddings, labels=None):
    labels = np.zeros(len(embeddings), dtype=np.int64) if labels is None else labels
    return Bank(embeddings, np.arange(len(embeddings)), labels)


def flags_of(embeddings, labels, k):
    return disagreement_flags(flat(embeddings, labels), bank_of(embeddings, labels), classes=3, k=k, advance=lambda _: None)


@settings(max_examples=40)
@given(count=st.integers(2, 60), k=st.integers(1, 9), seed=st.integers(0, 50))
def test_flags_are_those_of_a_plain_leave_one_out_vote(count, k, seed):
    embeddings = embeddings_of(count, seed=seed)
    labels = np.random.default_rng(seed).integers(0, 3, count)
    flags = flags_of(embeddings, labels, k)
    similarities = embeddings.astype(np.float64) @ embeddings.T.astype(np.float64)
    np.fill_diagonal(similarities, -np.inf)
    for row, flag in enumerate(flags):
        nearest = np.argsort(-similarities[row])[: min(k, count - 1)]
        counts = np.bincount(labels[nearest], minlength=3)
        winners = np.flatnonzero(counts == counts.max())
        if len(winners) == 1:  # ties have their own tests, where the vote lives
            assert flag == (Flag.DISAGREES if winners[0] != labels[row] else 0)


def test_duplicates_beyond_k_hide_nobody_from_the_vote():
    embeddings = embeddings_of(2, copies=30)
    labels = np.repeat([0, 1], 30)
    labels[7] = 2
    flags = flags_of(embeddings, labels, k=5)
    assert flags[7] == Flag.DISAGREES
    assert np.delete(flags, 7).sum() == 0


@settings(max_examples=30)
@given(count=st.integers(5, 80), copies=st.integers(1, 4), seed=st.integers(0, 50))
def test_an_exact_index_recalls_everything_among_ties_too(count, copies, seed):
    embeddings = embeddings_of(count, seed=seed, copies=copies)
    assert recall_at_k(flat(embeddings), bank_of(embeddings), 5) == 1


def test_an_index_that_misses_neighbours_is_found_out():
    embeddings = embeddings_of(100)
    exact, bank = flat(embeddings), bank_of(embeddings)

    class Forgetful:
        size, dim = 100, 4

        def search(self, queries, k):
            found = exact.search(queries, k + 1)
            return Neighbours(found.ids[:, 1:], found.labels[:, 1:], found.similarities[:, 1:])

    class Repeating(Forgetful):
        def search(self, queries, k):
            found = exact.search(queries, k)
            return replace(found, ids=np.repeat(found.ids[:, :1], k, axis=1))

    class Lazy(Forgetful):
        def search(self, queries, k):
            return padded(exact.search(queries, 3), k)

    assert abs(recall_at_k(Forgetful(), bank, 5) - 0.8) < 0.01
    assert recall_at_k(Repeating(), bank, 5) == 0
    assert recall_at_k(Lazy(), bank, 5) == 3 / 5
