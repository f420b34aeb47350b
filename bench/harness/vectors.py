"""Random embeddings, for benchmarks of search alone."""

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 1_000_000
"""Rows that are made in one go: what that takes beside them stays small, however many there are."""


def unit_vectors(rng: np.random.Generator, rows: int, dim: int) -> NDArray[np.float32]:
    """Of unit length, in directions that are all alike: float32 [rows, dim]."""
    vectors = np.empty((rows, dim), dtype=np.float32)
    for start in range(0, rows, AT_ONCE):
        part = vectors[start : start + AT_ONCE]
        rng.standard_normal(out=part, dtype=np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors
