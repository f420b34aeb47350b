"""What the judge holds back, on an index of blobs that are known."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.model.answers import Answers
from holdfast.model.classifier import Classifier, Retrieval
from holdfast.model.credibility import calibrate_retriever
from holdfast.model.retrieval.base import SPARE, Bank
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.vote import VoteParameters
from holdfast.server.core.observers import ObservedBatch
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.store.judging.impact import Rows, impact_of
from holdfast.server.store.judging.judge import JudgeParameters, NeighbourJudge
from holdfast.server.store.judging.recent import RecentAnswers
from holdfast.server.store.records import JudgedRows
from tests.server.described import described

DIM, K, EACH = 16, 7, 40
NAMES = ("ant", "bee", "cat")
RNG = np.random.default_rng(5)
CENTRES = np.linalg.qr(RNG.normal(size=(DIM, DIM)))[0]


def blob(label: int, count: int, seed: int, spread: float = 0.12) -> Any:
    rows = CENTRES[label] + np.random.default_rng([seed, label]).normal(0, spread, (count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def of_labels(labels: Any, seed: int) -> Any:
    return np.stack([blob(label, 1, seed + place)[0] for place, label in enumerate(labels)])


def model_over(bank: Bank, *, calibrated: bool = True, names: tuple[str, ...] = NAMES) -> ModelSnapshot:
    index, vote = FlatIndex.build(bank), VoteParameters(k=K)
    held_out = np.repeat(np.arange(3), 40)
    calibration = (
        calibrate_retriever(index, vote, of_labels(held_out, 1000), held_out, classes=len(names)) if calibrated else None
    )
    encoder: Any = SimpleNamespace(embed=None)
    classifier = Classifier(encoder, index, classes=len(names), vote=vote, calibration=calibration, surrogate_tau=0.1)
    description = described(class_names=names, exemplars=index.size, vote=vote, embedding_dim=DIM, bundle_version="one")
    return ModelSnapshot(description, classifier, lambda: None)  # type: ignore[arg-type,return-value]


def bank_of_blobs() -> Bank:
    labels = np.repeat(np.arange(3), EACH)
    return Bank(np.concatenate([blob(label, EACH, 0) for label in range(3)]), np.arange(3 * EACH), labels)


SNAPSHOT = model_over(bank_of_blobs())


def answers_of(snapshot: ModelSnapshot, embeddings: Any) -> Answers:
    return snapshot.decide(Retrieval(embeddings, snapshot.classifier.retriever.search(embeddings, K + SPARE))).answers


def rows_of(embeddings: Any, labels: Any, first: int = 10_000, served_of_new: int = 0) -> JudgedRows:
    known = np.asarray(labels, np.int64)
    served = np.where(known < 3, EACH, served_of_new)
    return JudgedRows(embeddings, known, np.arange(first, first + len(labels)), served)


def held(judge: NeighbourJudge, rows: JudgedRows, snapshot: ModelSnapshot = SNAPSHOT, recent: Any = None) -> list[bool]:
    verdicts = judge(rows, snapshot, recent)
    assert all(bool(each.reason) == each.quarantine for each in verdicts)
    return [each.quarantine for each in verdicts]


@pytest.mark.parametrize("calibrated", [True, False])
def test_honest_exemplars_pass_and_flipped_labels_are_held_back(calibrated: bool) -> None:
    snapshot = model_over(bank_of_blobs(), calibrated=calibrated)
    labels = np.arange(30) % 3
    assert sum(held(NeighbourJudge(), rows_of(of_labels(labels, 50), labels), snapshot)) <= 3
    verdicts = NeighbourJudge()(rows_of(of_labels(labels, 50), (labels + 1) % 3), snapshot, None)
    assert all(each.quarantine for each in verdicts)
    assert all(NAMES[label] in each.reason for label, each in zip(labels, verdicts, strict=True))


def test_an_exemplar_that_gets_another_label_does_not_vote_for_the_old_one() -> None:
    bank = bank_of_blobs()
    wrong = bank.labels.copy()
    wrong[:3] = 1  # three ants that are called bees
    snapshot = model_over(replace(bank, labels=wrong))
    assert (
        held(NeighbourJudge(), JudgedRows(bank.embeddings[:3], np.zeros(3, np.int64), bank.ids[:3], np.full(3, EACH)), snapshot)
        == [False] * 3
    )
    right = JudgedRows(bank.embeddings[5:8], np.ones(3, np.int64), bank.ids[5:8], np.full(3, EACH))
    assert held(NeighbourJudge(), right, snapshot) == [True] * 3


def test_a_new_class_may_come_where_it_lies_apart_or_in_company() -> None:
    assert held(NeighbourJudge(), rows_of(blob(7, 1, 3), [3])) == [False]
    assert held(NeighbourJudge(), rows_of(blob(7, 12, 3, 0.2), [3] * 12)).count(True) <= 1


def test_the_first_of_a_class_that_lies_in_another_is_held_back() -> None:
    (verdict,) = NeighbourJudge()(rows_of(CENTRES[1:2].astype(np.float32), [3]), SNAPSHOT, None)
    assert verdict.quarantine
    assert "bee" in verdict.reason
    assert held(NeighbourJudge(), rows_of(blob(1, 30, 4), [3] * 30)).count(True) >= 15


def test_a_small_class_grows_by_what_is_like_it() -> None:
    judge = NeighbourJudge()
    assert held(judge, rows_of(blob(7, 2, 3), [3, 3])) == [False, False]
    assert held(judge, rows_of(blob(7, 1, 4), [3], 10_100, 2)) == [False]  # it has company by now
    assert held(judge, rows_of(blob(2, 1, 4), [3], 10_200, 3)) == [True]


@given(times=st.integers(1, 9))
def test_a_burst_is_held_back_whether_it_comes_at_once_or_one_by_one(times: int) -> None:
    copies = np.repeat(blob(0, 1, 9), times, axis=0)
    assert held(NeighbourJudge(JudgeParameters(burst=4)), rows_of(copies, [0] * times)) == [times >= 4] * times
    judge = NeighbourJudge(JudgeParameters(burst=4))
    one_by_one = [held(judge, rows_of(copies[:1], [0], 10_000 + n))[0] for n in range(times)]
    assert one_by_one == [n >= 3 for n in range(times)]


def test_what_is_forgotten_is_no_burst() -> None:
    judge = NeighbourJudge(JudgeParameters(burst=2, window=3))
    first = rows_of(blob(0, 1, 9), [0])
    assert held(judge, first) == [False]
    assert held(judge, rows_of(of_labels([0, 1, 2], 70), [0, 1, 2], 10_100)) == [False] * 3
    assert held(judge, rows_of(first.embeddings, [0], 10_200)) == [False]


def test_many_small_steps_that_change_recent_answers_are_held_back() -> None:
    """One row a call, where questions were asked; votes of neighbours alone would let each of them pass."""
    asked = blob(0, 40, 20)
    recent = answers_of(SNAPSHOT, asked)
    assert (recent.labels == 0).all()
    judge = NeighbourJudge(JudgeParameters(doubt=1e-9, burst=1000, changed=0.1, least_changed=4))
    rows = [rows_of(blob(0, 1, 100 + n), [1], 20_000 + n) for n in range(60)]
    outcome = [judge(row, SNAPSHOT, recent)[0] for row in rows]
    assert not any(each.quarantine for each in outcome[:4])  # so few change nothing
    assert outcome[-1].quarantine
    assert "recent answers" in outcome[-1].reason
    assert "bee" in outcome[-1].reason
    passed = [row for row, each in zip(rows, outcome, strict=True) if not each.quarantine]
    bank = bank_of_blobs()
    poisoned = Bank(
        np.concatenate([bank.embeddings, *(row.embeddings for row in passed)]),
        np.concatenate([bank.ids, *(row.ids for row in passed)]),
        np.concatenate([bank.labels, *(row.labels for row in passed)]),
    )
    assert (answers_of(model_over(poisoned), asked).labels != 0).mean() <= 0.25


@given(seed=st.integers(0, 500), new=st.integers(1, 12), lately=st.integers(0, 12))
def test_the_impact_is_what_an_index_built_anew_would_change(seed: int, new: int, lately: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, new + lately)
    rows = np.stack([blob(int(c), 1, seed * 100 + i, 0.4)[0] for i, c in enumerate(rng.integers(0, 3, new + lately))])
    ids = np.arange(5000, 5000 + len(rows))
    recent = answers_of(SNAPSHOT, of_labels(rng.integers(0, 3, 25), seed))
    bank = bank_of_blobs()
    both = Bank(np.concatenate([bank.embeddings, rows]), np.concatenate([bank.ids, ids]), np.concatenate([bank.labels, labels]))
    after = answers_of(model_over(both, names=(*NAMES, "dog")), recent.embeddings)
    before, new_rows = Rows(rows[:lately], labels[:lately], ids[:lately]), Rows(rows[lately:], labels[lately:], ids[lately:])
    impact = impact_of(new_rows, before, recent, VoteParameters(k=K))
    voters = np.isin(after.neighbours.ids, ids[lately:]).any(axis=1)
    assert set(np.flatnonzero(voters & ~recent.abstain)) <= set(impact.reached)
    np.testing.assert_array_equal(impact.changed, (after.labels != recent.labels)[impact.reached])
    assert set(labels[lately:][impact.guilty]) <= set(after.labels[impact.reached[impact.changed]])


def test_of_recent_answers_the_latest_are_kept_and_those_of_another_bundle_are_not() -> None:
    recent = RecentAnswers(kept=6)
    assert recent.sample() is None
    answers = answers_of(SNAPSHOT, of_labels([0, 1, 2, 0], 5))

    def show(snapshot: ModelSnapshot) -> None:
        recent.observe(ObservedBatch(snapshot, np.zeros((4, 1, 1, 3), np.uint8), answers, [""] * 4))

    show(SNAPSHOT)
    show(SNAPSHOT)
    sample = recent.sample()
    assert sample is not None
    assert sample.labels.tolist() == [*answers.labels[2:].tolist(), *answers.labels.tolist()]
    np.testing.assert_array_equal(sample.neighbours.ids[-4:], answers.neighbours.ids)
    show(replace(SNAPSHOT, description=SNAPSHOT.description.model_copy(update={"bundle_version": "two"})))
    assert len(recent.sample().labels) == 4  # type: ignore[union-attr]


def test_another_bundle_begins_with_nothing_remembered() -> None:
    judge = NeighbourJudge(JudgeParameters(burst=2))
    row, next_row = rows_of(blob(0, 1, 9), [0]), rows_of(blob(0, 1, 9), [0], 10_100)
    other = replace(SNAPSHOT, description=SNAPSHOT.description.model_copy(update={"bundle_version": "two"}))
    assert held(judge, row) == [False]
    assert held(judge, row, other) == [False]
    assert held(judge, row, other) == [False]  # the same ids: it was not added after all
    assert held(judge, next_row, other) == [True]
