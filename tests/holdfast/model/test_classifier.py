"""The classifier over parts that are made up here: no bundle, no file."""

from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from holdfast.model.answers import Neighbours
from holdfast.model.classifier import Classifier
from holdfast.model.credibility import Calibration
from holdfast.model.retrieval.base import Bank
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.vote import VoteParameters

K, CLASSES = 4, 3
CALIBRATION = Calibration(nonconformity=(0, 0, 0.25, 0.25, 0.5, 1), abstain_below=0.2, coverage=0.9)


class Given:
    """A retriever that answers what it was given, and keeps a copy of it."""

    kind: ClassVar[str] = "given"
    size, dim = 100, 2

    def __init__(self, ids: list[list[int]], similarities: list[list[float]]) -> None:
        given = np.array(ids)
        self.asked: list[int] = []
        self.neighbours = Neighbours(given, np.where(given < 0, -1, given % CLASSES), np.array(similarities, dtype=np.float32))

    def search(self, queries: np.ndarray, k: int) -> Neighbours:
        self.asked.append(k)
        return self.neighbours


def classifier(retriever: object, calibration: Calibration | None = CALIBRATION) -> Classifier:
    encoder = SimpleNamespace(embed=lambda images: np.ones((len(images), 2), dtype=np.float32))
    return Classifier(encoder, retriever, classes=CLASSES, vote=VoteParameters(k=K), calibration=calibration, surrogate_tau=0.1)


def images(count: int) -> np.ndarray:
    return np.zeros((count, 4, 4, 3), dtype=np.uint8)


NONE = float("-inf")
GIVEN = (
    [[7, 1, 4, 10, 2], [1, 2, -1, -1, -1], [2, -1, -1, -1, -1], [-1, -1, -1, -1, -1]],
    [[0.9, 0.8, 0.8, 0.8, 0.8], [0.5, 0.5, NONE, NONE, NONE], [0.25, NONE, NONE, NONE, NONE], [NONE] * 5],
)


def test_every_retrievers_answer_is_put_in_canonical_order_and_left_as_it_was() -> None:
    given, kept = Given(*GIVEN), Given(*GIVEN)
    answers = classifier(given).classify(images(4))
    assert answers.neighbours.ids[0].tolist() == [7, 1, 2, 4]
    assert answers.neighbour_labels[0].tolist() == [1, 1, 2, 1]
    assert given.asked[0] > K  # so that equals of the k-th are there
    for name in ("ids", "labels", "similarities"):
        np.testing.assert_array_equal(getattr(given.neighbours, name), getattr(kept.neighbours, name))


def test_fewer_neighbours_are_counted_as_they_are() -> None:
    answers = classifier(Given(*GIVEN)).classify(images(4))
    assert answers.labels.tolist() == [1, 1, 2, 0]
    np.testing.assert_allclose(answers.probabilities, [[0, 0.75, 0.25], [0, 0.5, 0.5], [0, 0, 1], [0, 0, 0]])
    np.testing.assert_allclose(answers.kth_distance, [0.2, 0.5, 0.75, 2])
    # Of 4 neighbours 1, 3, 3 and 4 are not of the class that leads.
    assert answers.credibility.tolist() == [5 / 7, 2 / 7, 2 / 7, 2 / 7]
    assert np.isfinite(answers.confidence).all()
    assert answers.neighbours.ids[1:].tolist() == [[1, 2, -1, -1], [2, -1, -1, -1], [-1, -1, -1, -1]]


@pytest.mark.parametrize("calibration", [CALIBRATION, None])
def test_what_has_no_neighbour_is_not_answered(calibration: Calibration | None) -> None:
    abstain = classifier(Given(*GIVEN), calibration).classify(images(4)).abstain
    assert abstain.tolist() == [False, False, False, True]


def test_without_a_bank_there_is_no_soft_margin() -> None:
    blind = classifier(Given(*GIVEN))
    assert blind.surrogate is None
    assert np.isnan(blind.classify(images(4)).soft_margin).all()
    embeddings = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], dtype=np.float32)
    seeing = classifier(FlatIndex.build(Bank(embeddings, np.arange(4), np.arange(4) % CLASSES)))
    answers = seeing.classify(images(2))
    np.testing.assert_array_equal(answers.soft_margin, seeing.surrogate.margin(answers.embeddings, answers.labels))


def test_certificates_come_for_the_images_that_are_named_and_of_exact_indexes_alone() -> None:
    embeddings = np.array([[1, 0], [0, 1], [-1, 0], [0, -1], [0.6, 0.8]], dtype=np.float32)
    exact = classifier(FlatIndex.build(Bank(embeddings, np.arange(5), np.arange(5) % CLASSES)))
    retrieval = exact.retrieve(images(3))
    plain = exact.decide(retrieval)
    assert (plain.poison_tolerance == -1).all()
    assert np.isnan(plain.feature_shift).all()
    certified = exact.certified(retrieval, plain, np.array([0, 2]))
    assert (certified.poison_tolerance >= 0).tolist() == [True, False, True]
    assert np.isfinite(certified.feature_shift).tolist() == [True, False, True]
    blind = classifier(Given(*GIVEN))
    retrieval = blind.retrieve(images(4))
    assert (blind.certified(retrieval, blind.decide(retrieval), np.arange(4)).poison_tolerance == -1).all()


def test_retrieving_and_deciding_is_classifying() -> None:
    both = classifier(Given(*GIVEN))
    whole, parts = both.classify(images(4)), both.decide(both.retrieve(images(4)))
    for name in ("labels", "probabilities", "credibility", "kth_distance", "abstain"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
