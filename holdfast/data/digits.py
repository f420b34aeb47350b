"""The default, which needs no download: the 1,797 handwritten digits of 8x8 pixels that scikit-learn ships.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its test part).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from holdfast.data.labelled import DataError, LabelledImages, Size, fit_all, hold_out

TEST_IMAGES = 400


def read(size: Size, *, seed: int) -> tuple[LabelledImages, LabelledImages]:
    """Return (train, test) of uint8 [N, height, width, 3]; published as one set, so `seed` draws the 400 test images."""
    images, labels = _published(size)
    sources = [f"digits/{i}" for i in range(len(images))]
    # Both parts are copies.
    return hold_out(LabelledImages(images, labels, tuple("0123456789"), sources), TEST_IMAGES, seed)


@lru_cache(maxsize=2)
def _published(size: Size) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All images and labels. Kept, as training, index and evaluation ask for them again in one process: 5 MB at 32 pixels."""
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415 - only this data set needs scikit-learn
    except ImportError as error:
        raise DataError(
            "the digits are shipped inside scikit-learn, which is not installed: pip install scikit-learn"
        ) from error
    grey, labels = load_digits(return_X_y=True)
    # The published values are 0..16: the number of dark pixels in a 4x4 block of the scan.
    grey = np.rint(grey.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return fit_all(grey, size), labels.astype(np.int64)
