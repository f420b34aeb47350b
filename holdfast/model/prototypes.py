"""A large bank in a few thousand rows: k-means centres of each class, weighed by the exemplars that they stand for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from holdfast.errors import BundleError
from holdfast.model.answers import Floats, Ints
from holdfast.model.npz import UNREADABLE, open_npz

PROTOTYPES = 4096
"""Rows that stand for a larger bank: a whole bank of 50,000 would cost each soft margin as much as a small encoder does."""

POINTS_A_CENTRE = 64
"""Of a class at most so many exemplars for each of its centres take part in the k-means; the others only add weight."""

ITERATIONS = 10


@dataclass(frozen=True, slots=True)
class ClassPrototypes:
    """What the soft kNN needs to know of a bank.

    Attributes:
        embeddings: float32 [P, D]; of unit length where they are exemplars, a little shorter where they are centres.
        labels: int64 [P].
        log_weights: float32 [P], the log of the number of exemplars that each stands for.

    """

    embeddings: Floats
    labels: Ints
    log_weights: Floats

    @classmethod
    def of(cls, bank: Any, labels: Ints, count: int = PROTOTYPES) -> Self:
        """About `count` prototypes of a bank, at least one a class; the exemplars themselves where there are no more.

        Args:
            bank: float32 or float16 [M, D], L2-normalised; it may be mapped from a file, of which a sample is then read.
            labels: int64 [M], theirs.
            count: how many.

        """
        if len(bank) <= count:
            return cls(np.asarray(bank, dtype=np.float32), labels, np.zeros(len(bank), dtype=np.float32))
        classes = np.unique(labels)
        parts = [_of_class(bank, np.flatnonzero(labels == c), count) for c in classes]
        sizes = [len(centres) for centres, _ in parts]
        return cls(
            np.concatenate([centres for centres, _ in parts]),
            np.repeat(classes, sizes),
            np.concatenate([weights for _, weights in parts]),
        )

    def refuse_misfit(self, dim: int, classes: int, again: str) -> None:
        """Raises BundleError where they are not of an index of `dim` dimensions, or stand for no class. `again`: a remedy."""
        of_classes = len(self.labels) > 0 and 0 <= self.labels.min() <= self.labels.max() < classes
        finite = bool(np.isfinite(self.embeddings).all() and np.isfinite(self.log_weights).all())
        if self.embeddings.shape[1] != dim or not of_classes or not finite:
            raise BundleError(f"the prototypes of the index do not fit it; {again}")

    def save(self, path: Path) -> None:
        """Write them as .npz, which holds no pickles."""
        with path.open("wb") as file:
            np.savez(file, embeddings=self.embeddings, labels=self.labels, log_weights=self.log_weights)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read them. Raises BundleError where the file holds none."""
        try:
            with open_npz(path) as file:
                embeddings = file.array("embeddings", np.float32, None, None)
                rows = len(embeddings)
                return cls(embeddings, file.array("labels", np.int64, rows), file.array("log_weights", np.float32, rows))
        except UNREADABLE as error:
            raise BundleError(f"{path} holds no prototypes: {error}; run holdfast index again") from None


def _of_class(bank: Any, rows: Ints, count: int) -> tuple[Floats, Floats]:
    """Centres float32 [P, D] of a class's rows, and the log of their weights float32 [P]."""
    import faiss  # noqa: PLC0415 - only large banks need it

    centres = max(1, round(count * len(rows) / len(bank)))
    sample = rows
    if len(rows) > centres * POINTS_A_CENTRE:
        sample = np.sort(np.random.default_rng(0).choice(rows, centres * POINTS_A_CENTRE, replace=False))
    members = np.ascontiguousarray(bank[sample], dtype=np.float32)
    kmeans = faiss.Kmeans(
        bank.shape[1], centres, niter=ITERATIONS, seed=0, min_points_per_centroid=1, max_points_per_centroid=len(members)
    )
    kmeans.train(members)
    _, nearest = kmeans.index.search(members, 1)
    sizes = np.bincount(nearest.ravel(), minlength=centres)
    there = sizes > 0
    weights = np.log(sizes[there]) if len(sample) == len(rows) else np.log(sizes[there] * (len(rows) / len(sample)))
    return np.asarray(kmeans.centroids, dtype=np.float32)[there], weights.astype(np.float32)
