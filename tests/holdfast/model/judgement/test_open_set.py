"""The threshold that tells strangers from those who are enrolled."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from holdfast.model.credibility import calibrate_retriever
from holdfast.model.judgement.distance import is_unknown
from holdfast.model.judgement.open_set import equal_error, unknown_threshold
from holdfast.model.retrieval.base import Bank
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.vote import VoteParameters

DISTANCES = st.lists(st.integers(0, 200).map(lambda n: n / 100), min_size=1, max_size=60)


@given(DISTANCES, DISTANCES)
def test_no_threshold_has_errors_that_are_nearer_to_each_other(known: list[float], unknown: list[float]) -> None:
    near, far = np.array(known), np.array(unknown)
    point = equal_error(near, far)

    def errors(threshold: float) -> tuple[float, float]:
        return float((near > threshold).mean()), float((far <= threshold).mean())

    gaps = [abs(np.subtract(*errors(t))) for t in np.unique([*known, *unknown])]
    turned_away, let_in = errors(point.threshold)
    assert np.isclose(abs(turned_away - let_in), min(gaps))
    assert np.isclose(point.error, (turned_away + let_in) / 2)


def clusters(count: int, each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    centres = np.eye(8)[:count]
    labels = np.repeat(np.arange(count), each)
    points = centres[labels] + 0.1 * random.normal(size=(len(labels), 8))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), labels


def test_those_of_no_class_are_told_from_others() -> None:
    embeddings, labels = clusters(4, 30, 0)
    index = FlatIndex.build(Bank(embeddings, np.arange(len(labels)), labels))
    held, truth = clusters(4, 10, 1)
    point = unknown_threshold(index, held, truth, 5)
    assert point is not None
    assert point.error == 0
    strangers, _ = clusters(8, 10, 2)
    calibration = calibrate_retriever(index, VoteParameters(k=5), held, truth, classes=4, open_set=True)
    assert calibration.unknown_above == point.threshold
    nearest = 1 - np.sort(strangers @ embeddings.T, axis=1)[:, -5]
    unknown = is_unknown(nearest.astype(np.float32), point.threshold)
    assert not unknown[:40].any()
    assert unknown[40:].all()
    assert calibrate_retriever(index, VoteParameters(k=5), held, truth, classes=4).unknown_above is None
