import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from holdfast.model.judgement.distance import calibration_distances, distance_p_values
from holdfast.model.judgement.softmax import softmax_response

distances = hnp.arrays(np.float32, st.integers(1, 30), elements=st.sampled_from([0.0, 0.1, 0.25]) | st.floats(0, 2, width=32))


@given(distances, distances)
def test_the_p_value_counts_calibration_images_as_far_away(new, held_out) -> None:
    p = distance_p_values(new, np.array(calibration_distances(held_out)))
    for distance, value in zip(new, p, strict=True):
        at_least = (np.round(held_out.astype(float), 5) >= np.round(float(distance), 5)).sum()
        assert value == (1 + at_least) / (len(held_out) + 1)


def test_the_error_rate_is_the_stated_one() -> None:
    rng = np.random.default_rng(0)
    below = np.zeros(3)
    for _ in range(400):
        held_out, new = rng.gamma(2, 0.1, 99).astype(np.float32), rng.gamma(2, 0.1, 50).astype(np.float32)
        p = distance_p_values(new, np.array(calibration_distances(held_out)))
        below += [(p <= a).mean() for a in (0.01, 0.05, 0.2)]
    np.testing.assert_allclose(below / 400, (0.01, 0.05, 0.2), atol=0.006)


def test_nothing_is_said_without_a_calibration() -> None:
    assert np.isnan(distance_p_values(np.zeros(3, np.float32), np.empty(0))).all()


@given(
    hnp.arrays(np.float32, (4, 3), elements=st.floats(-50, 50, width=32)), hnp.arrays(np.int64, 4, elements=st.integers(0, 2))
)
def test_the_softmax_response_is_the_labels_probability(scores, labels) -> None:
    exact = np.exp(scores.astype(float)) / np.exp(scores.astype(float)).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax_response(scores, labels), exact[np.arange(4), labels], rtol=1e-4, atol=1e-6)


def test_a_class_without_exemplars_has_no_probability() -> None:
    scores = np.array([[1.0, -np.inf], [0.0, -np.inf]], dtype=np.float32)
    np.testing.assert_array_equal(softmax_response(scores, np.array([0, 1])), [1, 0])
