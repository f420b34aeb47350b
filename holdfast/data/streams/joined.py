"""Real domains: MNIST, Fashion-MNIST and CIFAR-10 as one set of thirty classes, 10,000 training images of each."""

from pathlib import Path

import numpy as np

from holdfast.data import cifar10
from holdfast.data.labelled import DataError, LabelledImages, Size, draw
from holdfast.data.mnist import FASHION_MNIST, MNIST

OF_EACH = 10_000
"""Training images of each set, each class in its proportion."""


def read(directory: Path | None, size: Size) -> tuple[LabelledImages, LabelledImages]:
    """Return (train, test) of uint8 [N, height, width, 3]; what an image is of stands first in its source, as "mnist/train/17".

    Raises:
        DataError: no directory, or one of the sets is not in it.

    """
    if directory is None:
        raise DataError(
            "domains are read from a folder that holds mnist/, fashion-mnist/ and cifar-10-batches-bin/: pass it as --data-dir"
        )
    parts = [set_.read(directory / set_.name, size) for set_ in (MNIST, FASHION_MNIST)]
    train, test = zip(*parts, cifar10.read(directory, size), strict=True)
    return _joined([_drawn(part) for part in train]), _joined(list(test))


def _drawn(images: LabelledImages) -> LabelledImages:
    if len(images) <= OF_EACH:
        return images
    return images.take(np.flatnonzero(draw(images.labels, len(images.class_names), OF_EACH, seed=0)))


def _joined(parts: list[LabelledImages]) -> LabelledImages:
    names = [part.sources[0].partition("/")[0] for part in parts]
    firsts = np.cumsum([0, *(len(part.class_names) for part in parts)])
    return LabelledImages(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels + first for part, first in zip(parts, firsts, strict=False)]),
        tuple(f"{name} {label}" for name, part in zip(names, parts, strict=True) for label in part.class_names),
        [source for part in parts for source in part.sources],
    )
