"""Images that a bundle has already: a set that is merged into it adds none of them twice."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.calibration_set import CalibrationSet
from holdfast.bundle.exemplars import DIGEST_BYTES, Exemplars
from holdfast.index_build.streaming.parts import EmbeddedPart
from holdfast.model.retrieval.embeddings import Embeddings

Ints = NDArray[np.int64]
Keys = NDArray[np.bytes_]

BLOCK = 65536  # rows looked at at once


@dataclass(frozen=True, eq=False)
class KnownImages:
    """Exemplars, and images that credibility is calibrated on, to be compared with the images of a set.

    An exemplar is known by the SHA-256 of its pixels. Tables of before holdfast kept that, and exemplars that were added to a
    running server, have none: such an exemplar, and an image of the calibration set, is known by its label and its embedding,
    rounded to float16. An embedding may differ in its last digits with the batch that it was computed in, so of these a few
    may be missed.

    Attributes:
        digests: S16 [n], sorted, of the exemplars that have one.
        labels: int64 [n], theirs.
        alike: S16 [m], sorted, of label and embedding of those that have none.
        held_out: S16 [h], sorted, likewise of the calibration set.
        renumbered: int64 [C], for each label of the set that comes in, that of the new bundle.

    """

    digests: Keys
    labels: Ints
    alike: Keys
    held_out: Keys
    renumbered: Ints

    @classmethod
    def of(
        cls, table: Exemplars, labels: Ints, embeddings: Embeddings, held_out: CalibrationSet, renumbered: Ints
    ) -> "KnownImages":
        """From the columns of a bundle.

        Args:
            table: the exemplars that stay.
            labels: int64 [M], theirs, as the new bundle numbers them; so are those of `held_out`.
            embeddings: float32 [M, D], theirs; may lie in a file.
            held_out: the calibration set.
            renumbered: see the attribute.

        """
        digests = table.known_digests()
        known = digests.any(axis=1)
        keys = _keys(digests[known])
        order, others = np.argsort(keys, kind="stable"), np.flatnonzero(~known)
        blocks = [others[start : start + BLOCK] for start in range(0, len(others), BLOCK)]
        alike = [_alike(embeddings[rows], labels[rows]) for rows in blocks]
        return cls(
            keys[order],
            labels[known][order],
            np.sort(np.concatenate([np.zeros(0, "S16"), *alike])),
            np.sort(_alike(held_out.embeddings, held_out.labels)),
            renumbered,
        )

    def there(self, part: EmbeddedPart, split: str) -> NDArray[np.bool_]:
        """Which images of a part are there already: bool [m].

        Args:
            part: of the set.
            split: of the part. An exemplar of before is not held out, nor is an image that is held out already.

        """
        there = _among(_keys(part.digests), self.digests)
        if len(self.alike) or (split == "calibration" and len(self.held_out)):
            alike = _alike(part.embeddings, self.renumbered[part.labels])
            there |= _among(alike, self.alike)
            if split == "calibration":
                there |= _among(alike, self.held_out)
        return there

    def labelled_otherwise(self, part: EmbeddedPart) -> int:
        """How many images of a part are exemplars under another label."""
        keys = _keys(part.digests)
        found = _among(keys, self.digests)
        there = self.labels[np.searchsorted(self.digests, keys[found])]
        return int((there != self.renumbered[part.labels[found]]).sum())


def _keys(digests: NDArray[np.uint8]) -> Keys:
    """uint8 [n, DIGEST_BYTES or more] -> S16 [n]. As all are equally long, that S16 ends with a zero byte does no harm."""
    keys: Keys = np.ascontiguousarray(digests[:, :DIGEST_BYTES]).view("S16").ravel()
    return keys


def _alike(embeddings: NDArray[Any], labels: Ints) -> Keys:
    """Of label and embedding rounded to float16: S16 [n]."""
    rows = np.concatenate([labels.astype("<i8").reshape(-1, 1).view(np.uint8), embeddings.astype("<f2").view(np.uint8)], axis=1)
    digests = b"".join(hashlib.blake2b(row, digest_size=DIGEST_BYTES).digest() for row in rows)
    return np.frombuffer(digests, dtype="S16")


def _among(keys: Keys, ordered: Keys) -> NDArray[np.bool_]:
    """Which keys are among sorted ones."""
    if not len(ordered):
        return np.zeros(len(keys), dtype=bool)
    found: NDArray[np.bool_] = ordered[np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)] == keys
    return found
