"""The hash of a labelled set that is read as a stream, in pieces of any size, by one process or by many."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from holdfast.model.preprocess import Pixels

Digests = NDArray[np.uint8]
DIGEST_BYTES = 32


def image_digests(images: Pixels) -> Digests:
    """SHA-256 of each image. Shape: uint8 [N, H, W, 3] -> uint8 [N, 32]."""
    digests = b"".join(hashlib.sha256(np.ascontiguousarray(image).data).digest() for image in images)
    return np.frombuffer(digests, dtype=np.uint8).reshape(-1, DIGEST_BYTES)


class PartDigest:
    """The hash of one part of a set, images and labels in their order; names are left out, as files may be moved."""

    def __init__(self) -> None:
        self._images, self._labels = hashlib.sha256(), hashlib.sha256()

    def update(self, digests: Digests, labels: NDArray[np.int64]) -> None:
        """Go on with images of these digests, uint8 [n, 32], and labels, int64 [n]."""
        self._images.update(np.ascontiguousarray(digests).data)
        self._labels.update(np.ascontiguousarray(labels, dtype="<i8").data)

    def hexdigest(self) -> str:
        """Hexadecimal."""
        return hashlib.sha256(self._images.digest() + self._labels.digest()).hexdigest()


def set_sha256(class_names: Sequence[str], shape: Sequence[int], parts: Sequence[str]) -> str:
    """The hash of a set, of those of its parts: it changes with any pixel, label or class name, and with how it was split."""
    names = "\0".join((*class_names, str(tuple(shape)))).encode(errors="surrogateescape")
    return hashlib.sha256(hashlib.sha256(names).digest() + "".join(parts).encode()).hexdigest()
