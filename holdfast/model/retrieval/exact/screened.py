"""Exact search of few queries at once: a first pass over rows of one byte a number, then exact products of what it found.

A search of one query reads every row once, and what it costs is the memory that it reads. The first pass reads a quarter of it,
and multiplies integers. Rows and queries are rotated, which changes no inner product and leaves no dimension much longer than
others, and rounded to whole steps. What each is off by is a vector whose length is known, and so is what a product is off by at
most. The products of all rows that may be among the k best by that are then computed exactly, so nothing is approximate: where
the k-th best of them is not above what any other row can reach, the query is searched again by whoever asked.

Of many neighbours a sample of the rows says first which products are worth a look. Of few it cannot; there the first pass keeps
the best, and some more than are wanted.
"""

import numpy as np

from holdfast.model.answers import Floats, Ints
from holdfast.model.faiss_library import faiss
from holdfast.model.retrieval.exact.keys import Found, keys_of, nothing_found, of_keys
from holdfast.model.retrieval.exact.sample import RowSample

STEPS = 127
"""Steps on either side of zero."""

LEAST_ROWS = 8192
"""Below so many rows, reading them is not what a search costs."""

LEAST_GUESSED = 256
"""Below so many neighbours a sample says too little: there, keeping the best is cheap."""

SPARE_SHARE, SPARE_ROWS = 0.4, 128
"""Of k neighbours .4 k + 128 more are kept by the first pass. Of 49,000 rows, k = 75 needed as a rule less than 1.4 k more, and
k = 15 at most 5 k (the shipped bundle's, 200 queries near them)."""

SURVIVORS = 4
"""Of each neighbour that is wanted, so many rows may be worth a look; beyond, the sample is no guide."""

MOST_QUERIES = 10
"""Above so many queries at once the matrix product is cheaper (python -m bench.knn)."""

LONGEST_REST = 1024
"""Searches without a first pass, at most, after it was in vain again and again: rows may be too much alike for it."""

BLOCK = 8192  # rows that are rounded at once


class ScreenedSearch:
    """Searches rows that stay as they are. Threads may share one. It holds a byte for each number, and eight for each row.

    Args:
        flat: faiss IndexFlatIP of the rows.
        rows: float32 [M, D], its memory.
        sample: of them.

    """

    def __init__(self, flat: faiss.IndexFlatIP, rows: Floats, sample: RowSample) -> None:
        self._flat, self._sample, self._size = flat, sample, len(rows)
        self._rest, self._in_vain = 0, 0
        self._rows_off = self._longest = self._most_steps = 0.0
        if self._size >= LEAST_ROWS:
            self._round(rows)

    def _round(self, rows: Floats) -> None:
        dim = rows.shape[1]
        self._rotation = _rotation(dim)
        blocks = [slice(start, start + BLOCK) for start in range(0, len(rows), BLOCK)]
        reach = np.max([np.abs(rows[block] @ self._rotation).max(axis=0) for block in blocks], axis=0)
        self._step = np.where(reach > 0, reach / STEPS, 1).astype(np.float32)
        self._quantizer = faiss.IndexFlatIP(dim)  # of one cell: faiss walks all of a cell at once, whatever is asked
        self._quantizer.add(np.zeros((1, dim), np.float32))
        kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
        codes = faiss.IndexIVFScalarQuantizer(self._quantizer, dim, 1, kind, faiss.METRIC_INNER_PRODUCT, False)
        codes.is_trained = True  # there is nothing to learn
        for block in blocks:
            rotated = rows[block] @ self._rotation
            steps = np.rint(rotated / self._step)
            codes.add(steps)
            self._rows_off = max(self._rows_off, _longest(steps * self._step - rotated))
            self._longest, self._most_steps = max(self._longest, _longest(rows[block])), max(self._most_steps, _longest(steps))
        self._codes = codes

    def worth(self, queries: int, k: int) -> bool:
        """Whether this is cheaper than a search without a first pass."""
        if self._size < LEAST_ROWS or not 0 < queries <= MOST_QUERIES or k > self._size // (2 * SURVIVORS):
            return False
        self._rest = max(0, self._rest - 1)
        return self._rest == 0

    def search(self, queries: Floats, k: int) -> Found:
        """The k rows with the largest inner products.

        Args:
            queries: float32 [N, D], C-contiguous.
            k: neighbours, at most M.

        Returns:
            Products, rows and which queries were answered, as Found has them.

        """
        products, rows, answered = nothing_found(len(queries), k)
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):  # numbers that are none prove nothing
            scaled = (queries @ self._rotation) * self._step
            scale = np.abs(scaled).max(axis=1, keepdims=True) / np.float32(STEPS)
            steps = np.rint(scaled / scale)
            off = self._off(queries, np.linalg.norm(scaled - steps * scale, axis=1))
        guesses = self._sample.guess(queries, k) if k >= LEAST_GUESSED else np.zeros(len(queries), np.float32)
        for query, sure in enumerate(np.isfinite(off).tolist()):
            one, unit, at_most = slice(query, query + 1), float(scale[query, 0]), float(off[query])
            if not sure:
                continue
            if k >= LEAST_GUESSED:
                reach = float(guesses[query])
                _, _, found = self._codes.range_search(steps[one], (reach - at_most) / unit)
            else:
                kept, (found,) = self._codes.search(steps[one], k + int(SPARE_SHARE * k) + SPARE_ROWS)
                reach = float(kept[0, -1]) * unit + at_most
            if k <= len(found) <= SURVIVORS * k + SPARE_ROWS:
                products[query], rows[query] = self._best(queries[one], found, k)
                answered[query] = products[query, -1] >= reach  # others stay below, for roundings are overestimated
        self._in_vain = 0 if answered.any() else min(2 * self._in_vain + 1, LONGEST_REST)
        self._rest = self._in_vain
        return products, rows, answered

    def _off(self, queries: Floats, queries_off: Floats) -> Floats:
        """What a product of the first pass is off by at most, by Cauchy and Schwarz: float32 [N]."""
        # A sum of D products in float32 is off by at most D units in the last place; there are two rotations and two products.
        rounding = 8 * queries.shape[1] * 2.0**-24 * self._longest
        off: Floats = queries_off * self._most_steps + np.linalg.norm(queries, axis=1) * (self._rows_off + rounding)
        return off

    def _best(self, query: Floats, rows: Ints, k: int) -> tuple[Floats, Ints]:
        """The k best of some rows by their exact products."""
        products = np.empty(len(rows), np.float32)
        self._flat.compute_distance_subset(1, faiss.swig_ptr(query), len(rows), faiss.swig_ptr(products), faiss.swig_ptr(rows))
        keys = keys_of(products, rows)
        keys.sort()
        return of_keys(keys[:k])


def _rotation(dim: int) -> Floats:
    """An orthogonal matrix float32 [D, D], the same in every process."""
    rotation: Floats = np.linalg.qr(np.random.default_rng(0).standard_normal((dim, dim)))[0].astype(np.float32)
    return rotation


def _longest(rows: Floats) -> float:
    return float(np.linalg.norm(rows, axis=1).max())
