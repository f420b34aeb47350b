"""The default, which needs no download: the 1,797 handwritten digits of 8x8 pixels that scikit-learn ships.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its test part).
"""

import numpy as np

from holdfast.data.labelled import DataError, LabelledImages, fit_all, hold_out

TEST_IMAGES = 400


def read(size: int, *, seed: int) -> tuple[LabelledImages, LabelledImages]:
    """Return (train, test) of uint8 [N, size, size, 3]; published as one set, so `seed` draws the 400 test images."""
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415 - only this data set needs scikit-learn
    except ImportError as error:
        raise DataError(
            "the digits are shipped inside scikit-learn, which is not installed: pip install scikit-learn"
        ) from error
    grey, labels = load_digits(return_X_y=True)
    # The published values are 0..16: the number of dark pixels in a 4x4 block of the scan.
    grey = np.rint(grey.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    everything = LabelledImages(
        fit_all(grey, size),
        labels.astype(np.int64),
        tuple("0123456789"),
        [f"digits/{i}" for i in range(len(grey))],
    )
    return hold_out(everything, TEST_IMAGES, seed)
