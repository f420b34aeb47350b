import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from holdfast.evaluation.report import difference, png

IMAGES = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


@given(IMAGES)
def test_a_png_holds_exactly_the_image(image):
    with Image.open(io.BytesIO(base64.b64decode(png(image)))) as read:
        np.testing.assert_array_equal(np.asarray(read.convert("RGB")), image)
    assert png(image) == png(np.asfortranarray(image))


@pytest.mark.parametrize("wrong", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2, 3))])
def test_what_is_no_image_is_refused(wrong):
    with pytest.raises(ValueError, match="an image is uint8"):
        png(wrong)


@given(st.data())
def test_a_difference_is_stretched_around_grey(data):
    clean = data.draw(IMAGES)
    attacked = data.draw(hnp.arrays(np.uint8, clean.shape))
    shown, moved = difference(clean, attacked).astype(int), attacked.astype(int) - clean
    np.testing.assert_array_equal(np.sign(shown - 128)[np.abs(shown - 128) > 0], np.sign(moved)[np.abs(shown - 128) > 0])
    assert (shown[moved == 0] == 128).all()
    np.testing.assert_array_equal(shown + difference(attacked, clean), np.full_like(shown, 256))
    assert np.abs(shown - 128).max() == (127 if moved.any() else 0)
