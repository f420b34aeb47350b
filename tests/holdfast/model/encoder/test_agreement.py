"""Encoders that agree, and encoders that do not."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import DeviceError
from holdfast.model.encoder.agreement import TOLERANCES, cosine_distance, pictures, refuse_disagreement
from holdfast.model.preprocess import InputContract
from tests.holdfast.model.retrieval.test_flat import unit


@given(seed=st.integers(0, 9999), exponent=st.floats(-10, 0))
def test_the_distance_is_one_minus_the_cosine(seed: int, exponent: float) -> None:
    expected = unit(seed, 9)
    ours = expected + 10**exponent * unit(seed + 1, 9)
    ours /= np.linalg.norm(ours, axis=1, keepdims=True)
    exact = 1 - (ours.astype(np.float64) * expected).sum(axis=1)
    np.testing.assert_allclose(cosine_distance(ours, expected), exact, rtol=1e-4, atol=2e-7)


@given(height=st.integers(1, 70), width=st.integers(1, 70))
@settings(max_examples=20)
def test_pictures_are_of_every_size_and_always_the_same(height: int, width: int) -> None:
    images = pictures(InputContract(height=height, width=width))
    assert images.shape == (16, height, width, 3)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, pictures(InputContract(height=height, width=width)))
    assert (images[8:, 0, : min(width, 4)] == images[8:, :1, 0]).all()  # tiles


def turned(angle: float) -> SimpleNamespace:
    """An encoder of two dimensions that says the same of every image."""
    z = np.array([np.cos(angle), np.sin(angle)], dtype=np.float32)
    return SimpleNamespace(contract=InputContract(height=8, width=8), dim=2, embed=lambda images: np.tile(z, (len(images), 1)))


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_what_is_tolerable_hangs_on_the_precision(precision: str) -> None:
    largest = float(np.arccos(1 - TOLERANCES[precision]))
    refuse_disagreement(turned(0.9 * largest), turned(0), precision)
    for angle in (1.1 * largest, np.nan):
        with pytest.raises(DeviceError, match=precision):
            refuse_disagreement(turned(angle), turned(0), precision)
