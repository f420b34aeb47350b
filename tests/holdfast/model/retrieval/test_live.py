"""A live index against one built anew from the same rows, through any sequence of changes."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import BundleError, ContractMismatchError
from holdfast.model.answers import Neighbours
from holdfast.model.classifier import Classifier
from holdfast.model.live_surrogate import LATEST_ROWS, LiveSoftKNN
from holdfast.model.retrieval.base import Bank, nearest, vectors_of
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.retrieval.live import Changes, LiveIndex
from holdfast.model.retrieval.table import RETRIEVERS, build_retriever
from holdfast.model.surrogate import SoftKNN
from holdfast.model.vote import VoteParameters

DIM, TAU = 6, 0.25


def exact_rows(rng, count, dim=DIM):
    """Vectors whose products are exact in float32, however they are summed: no digit depends on the order of adding."""
    return rng.integers(-24, 25, (count, dim)).astype(np.float32) / 64


@dataclass
class Rows:
    """What an index should hold."""

    vectors: dict = field(default_factory=dict)
    labels: dict = field(default_factory=dict)

    def bank(self, order):
        ids = np.array([i for i in order if i in self.labels], dtype=np.int64)
        vectors = np.array([self.vectors[i] for i in ids.tolist()], dtype=np.float32).reshape(-1, DIM)
        return Bank(vectors, ids, np.array([self.labels[i] for i in ids.tolist()], dtype=np.int64))


class Changed:
    """A live index, its surrogate, and the rows that both should hold, changed together."""

    def __init__(self, rng, rows, classes):
        self.rng, self.rows, self.classes, self.next_id, self.order = rng, Rows(), classes, rows, list(range(rows))
        vectors, labels = exact_rows(rng, rows), rng.integers(0, classes, rows)
        for i in range(rows):
            self.rows.vectors[i], self.rows.labels[i] = vectors[i], int(labels[i])
        self.live = LiveIndex.over(FlatIndex.build(self.rows.bank(self.order)))
        self.soft = LiveSoftKNN.over(SoftKNN(vectors, labels, classes, TAU))

    def add(self, count, *, copies=0, new_class=False):
        self.classes += new_class
        vectors = exact_rows(self.rng, count)
        if copies and self.rows.labels:
            vectors[:copies] = self.rows.vectors[int(self.rng.choice(list(self.rows.labels)))]
        ids = np.arange(self.next_id, self.next_id + count)
        labels = self.rng.integers(0, self.classes, count)
        if new_class:
            labels[-1] = self.classes - 1
        self.next_id += count
        self.order += ids.tolist()
        for i, vector, label in zip(ids.tolist(), vectors, labels.tolist(), strict=True):
            self.rows.vectors[i], self.rows.labels[i] = vector, label
        self.live = self.live.with_changes(Changes(added=Bank(vectors, ids, labels)))
        self.soft = self.soft.with_changes((vectors, labels), nothing(), self.classes)

    def choose(self, count):
        ids = self.rng.permutation(list(self.rows.labels))[:count].astype(np.int64)
        was = np.array([self.rows.labels[i] for i in ids.tolist()], dtype=np.int64)
        return ids, self.live.reconstruct(ids), was

    def relabel(self, count):
        ids, vectors, was = self.choose(count)
        labels = self.rng.integers(0, self.classes, len(ids))
        self.rows.labels |= dict(zip(ids.tolist(), labels.tolist(), strict=True))
        self.live = self.live.with_changes(Changes(relabelled=ids, labels=labels))
        self.soft = self.soft.with_changes((vectors, labels), (vectors, was), self.classes)

    def delete(self, count):
        ids, vectors, was = self.choose(count)
        for i in ids.tolist():
            del self.rows.labels[i]
        self.live = self.live.with_changes(Changes(deleted=ids))
        self.soft = self.soft.with_changes(nothing(), (vectors, was), self.classes)

    def anew(self):
        return FlatIndex.build(self.rows.bank(self.order))

    def soft_anew(self):
        bank = self.rows.bank(self.order)
        return SoftKNN(bank.embeddings, bank.labels, self.classes, TAU)


def nothing():
    return np.empty((0, DIM), dtype=np.float32), np.empty(0, dtype=np.int64)


STEP = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 12), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("relabel"), st.integers(1, 8)),
    st.tuples(st.just("delete"), st.integers(1, 12)),
)


def take(changed, step):
    if step[0] == "add":
        changed.add(step[1], copies=min(step[2], step[1]), new_class=step[3])
    else:
        getattr(changed, step[0])(step[1])


class Identity:
    """An encoder whose images are its embeddings."""

    def embed(self, images):
        return images


def same_neighbours(found: Neighbours, expected: Neighbours):
    np.testing.assert_array_equal(found.similarities, expected.similarities)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.labels, expected.labels)


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.integers(1, 60), st.lists(STEP, max_size=8), st.integers(1, 20))
def test_it_finds_what_an_index_built_anew_finds(seed, rows, steps, k):
    rng = np.random.default_rng(seed)
    changed = Changed(rng, rows, classes=3)
    before = []
    for step in steps:
        before.append((changed.live, changed.anew()))
        take(changed, step)
    queries = exact_rows(rng, 5)
    queries[0] = 0  # is equally near to all
    for live, anew in [*before, (changed.live, changed.anew())]:  # earlier ones have not changed with their successors
        assert live.size == anew.size
        if live.size:
            found, expected = nearest(live, queries[1:], k), nearest(anew, queries[1:], k)
            same_neighbours(found, expected)
            np.testing.assert_array_equal(
                nearest(live, queries[:1], k).similarities, nearest(anew, queries[:1], k).similarities
            )


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.lists(STEP, max_size=6))
def test_a_classifier_answers_as_one_made_anew(seed, steps):
    rng = np.random.default_rng(seed)
    changed = Changed(rng, 40, classes=3)
    first = Classifier(
        Identity(),
        changed.live.base,
        classes=3,
        vote=VoteParameters(k=5, weighting="exponential"),
        calibration=None,
        surrogate_tau=TAU,
    )
    for step in steps:
        take(changed, step)
    if changed.live.size == 0:
        return
    answers = first.with_index(changed.live, changed.classes, changed.soft).classify(exact_rows(rng, 7))
    anew = Classifier(
        Identity(),
        changed.anew(),
        classes=changed.classes,
        vote=VoteParameters(k=5, weighting="exponential"),
        calibration=None,
        surrogate_tau=TAU,
    ).classify(answers.embeddings)
    same_neighbours(answers.neighbours, anew.neighbours)
    for name in ("labels", "probabilities", "abstain", "kth_distance"):
        np.testing.assert_array_equal(getattr(answers, name), getattr(anew, name))
    finite = np.isfinite(anew.soft_margin)
    np.testing.assert_array_equal(np.isfinite(answers.soft_margin), finite)
    np.testing.assert_allclose(answers.soft_margin[finite], anew.soft_margin[finite], rtol=1e-4, atol=1e-4)


def test_the_soft_knn_and_its_gradient_are_those_of_one_made_anew_over_many_merges():
    rng = np.random.default_rng(0)
    changed = Changed(rng, 50, classes=3)
    for _ in range(12):
        changed.add(LATEST_ROWS // 4, copies=2)
        changed.relabel(3)
        changed.delete(5)
    changed.add(3, new_class=True)
    assert len(changed.soft.parts) == 3
    z, labels = exact_rows(rng, 6), rng.integers(0, changed.classes, 6)
    anew = changed.soft_anew()
    np.testing.assert_allclose(changed.soft.log_scores(z), anew.log_scores(z), rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(changed.soft.margin_gradient(z, labels), anew.margin_gradient(z, labels), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_deleting_off_prototypes_takes_members_off_the_nearest():
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(600, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = np.repeat([0, 1], 300)
    base = SoftKNN.compressed(vectors, labels, 2, TAU, prototypes=60)
    gone = np.arange(0, 300, 2)
    soft = LiveSoftKNN.over(base).with_changes(nothing(), (vectors[gone], labels[gone]), 2)
    left = np.setdiff1d(np.arange(600), gone)
    z = vectors[rng.choice(600, 20)]
    fell = soft.log_scores(z) - base.log_scores(z)
    exact = SoftKNN(vectors[left], labels[left], 2, TAU).log_scores(z) - SoftKNN(vectors, labels, 2, TAU).log_scores(z)
    np.testing.assert_allclose(fell, exact, atol=0.3)  # by log 2, more or less
    assert not fell[:, 1].any()


def test_a_class_that_loses_all_its_exemplars_scores_minus_infinity():
    rng = np.random.default_rng(2)
    vectors, labels = exact_rows(rng, 6), np.array([0, 0, 1, 1, 2, 2])
    for tau in (TAU, 0.001):
        soft = LiveSoftKNN.over(SoftKNN(vectors, labels, 3, tau)).with_changes(nothing(), (vectors[:2], labels[:2]), 3)
        assert (soft.log_scores(vectors)[:, 0] == -np.inf).all()
        assert np.isfinite(soft.log_scores(vectors)[:, 1:]).all()
        assert np.isfinite(soft.margin_gradient(vectors, np.ones(6, dtype=np.int64))[1]).all()


def test_it_hands_out_what_it_holds():
    changed = Changed(np.random.default_rng(3), 20, classes=2)
    changed.add(5)
    changed.relabel(6)
    changed.delete(4)
    bank, expected = changed.live.export(), changed.rows.bank(changed.order)
    np.testing.assert_array_equal(bank.ids, expected.ids)
    np.testing.assert_array_equal(bank.labels, expected.labels)
    np.testing.assert_array_equal(bank.embeddings, expected.embeddings)
    np.testing.assert_array_equal(vectors_of(changed.live, bank.ids), bank.embeddings)


def test_two_successors_of_one_index_do_not_meet():
    rng = np.random.default_rng(4)
    live = LiveIndex.over(FlatIndex.build(Bank(exact_rows(rng, 3), np.arange(3), np.zeros(3, dtype=np.int64))))
    first, second = exact_rows(rng, 1), exact_rows(rng, 1)
    one = live.with_changes(Changes(added=Bank(first, np.array([7]), np.array([0]))))
    other = live.with_changes(Changes(added=Bank(second, np.array([7]), np.array([1]))))
    np.testing.assert_array_equal(one.reconstruct(np.array([7])), first)
    np.testing.assert_array_equal(other.reconstruct(np.array([7])), second)
    assert one.export().labels.tolist() == [0, 0, 0, 0]
    assert other.export().labels.tolist() == [0, 0, 0, 1]


def test_a_deleted_exemplar_may_come_back():
    rng = np.random.default_rng(6)
    vectors = exact_rows(rng, 5)
    live = LiveIndex.over(FlatIndex.build(Bank(vectors[:3], np.arange(3), np.zeros(3, dtype=np.int64))))
    live = live.with_changes(Changes(added=Bank(vectors[3:], np.array([3, 4]), np.array([0, 0]))))
    for place in (1, 4):
        one = np.array([place])
        live = live.with_changes(Changes(deleted=one))
        assert place not in nearest(live, vectors[one], 5).ids
        live = live.with_changes(Changes(added=Bank(vectors[one], one, np.array([1]))))
    assert live.size == 5
    anew = FlatIndex.build(Bank(vectors, np.arange(5), np.array([0, 1, 0, 0, 1])))
    same_neighbours(nearest(live, vectors, 5), nearest(anew, vectors, 5))


def test_what_does_not_fit_is_refused():
    rng = np.random.default_rng(5)
    live = LiveIndex.over(FlatIndex.build(Bank(exact_rows(rng, 3), np.arange(3), np.zeros(3, dtype=np.int64))))
    with pytest.raises(ContractMismatchError, match="index holds"):
        live.with_changes(Changes(added=Bank(exact_rows(rng, 1, dim=4), np.array([3]), np.array([0]))))
    added = live.with_changes(Changes(added=Bank(exact_rows(rng, 1), np.array([3]), np.array([0]))))
    with pytest.raises(BundleError, match="another"):
        added.with_changes(Changes(added=Bank(exact_rows(rng, 1), np.array([3]), np.array([0]))))
    gone = added.with_changes(Changes(deleted=np.array([3])))
    with pytest.raises(BundleError, match="twice"):
        gone.with_changes(Changes(deleted=np.array([3])))
    with pytest.raises(BundleError, match="not in the index"):
        live.reconstruct(np.array([9]))


@pytest.mark.parametrize("kind", [name for name, kind in RETRIEVERS.items() if not kind.remote])
def test_over_any_base_what_is_added_is_found_and_what_is_deleted_is_not(kind):
    rng = np.random.default_rng(7)
    vectors = rng.normal(size=(700, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = rng.integers(0, 4, 700)
    base = build_retriever(kind, Bank(vectors[:600], np.arange(600), labels[:600]))
    gone, moved = np.arange(0, 300, 3), np.arange(1, 300, 3)
    live = LiveIndex.over(base).with_changes(
        Changes(Bank(vectors[600:], np.arange(600, 700), labels[600:]), moved, np.full(len(moved), 9), gone)
    )
    found = nearest(live, vectors, 10)
    assert not np.isin(found.ids, gone).any()
    assert (found.ids[600:, 0] == np.arange(600, 700)).all()
    assert (found.labels[np.isin(found.ids, moved)] == 9).all()
    assert live.size == 600
    assert (np.diff(found.similarities, axis=1) <= 0).all()
