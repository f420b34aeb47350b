"""Exact search of many neighbours at once: the matrix product, block by block, and of each block only what can be among them.

faiss keeps the best k of each query while it walks the rows, which at k = 1,000 costs more than the product itself. Here a
sample of the rows says first, for each query, what similarity its k best will reach. Of the product, numpy then picks what
reaches that, which is little more than k, and sorts it once. A query of which the sample said too much is searched again by
whoever asked, so the answer is exact whatever the sample is.
"""

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Floats, Ints

LEAST_K = 128
"""Below so many neighbours faiss's own search is as cheap (python -m bench.knn)."""

LEAST_QUERIES = 8
"""Below so many queries faiss's own search is as cheap."""

MOST_QUERIES = 128
"""Searched at a time: their part of a block of the product stays in cache."""

BLOCK = 2048
"""Rows of a block."""

SAMPLE = 2048
"""Rows that are looked at first."""

SURVIVORS = 4
"""Of each neighbour that is wanted, so many rows may reach what the sample said; beyond, the sample is no guide."""

DEVIATIONS = 3
"""The sample's guess is taken so many standard deviations too low, so that fewer than k rows seldom reach it."""

LAST = np.iinfo(np.int64).max
SIGN = np.int32(-(1 << 31))


class BlockwiseSearch:
    """Searches rows that stay as they are. Threads may share one.

    Args:
        rows: float32 [M, D], C-contiguous; kept, not copied.

    """

    def __init__(self, rows: Floats) -> None:
        self._rows = rows
        # Spread over all rows: they often come class by class.
        self._sample = np.ascontiguousarray(rows[:: max(1, len(rows) // SAMPLE)][:SAMPLE].T)

    def worth(self, queries: int, k: int) -> bool:
        """Whether this is cheaper than faiss's search, on one thread."""
        return queries >= LEAST_QUERIES and LEAST_K <= k <= len(self._rows) // (2 * SURVIVORS)

    def search(self, queries: Floats, k: int) -> tuple[Floats, Ints, NDArray[np.bool_]]:
        """The k rows with the largest inner products.

        Args:
            queries: float32 [N, D].
            k: neighbours, at most M.

        Returns:
            Inner products float32 [N, k], the largest first, and the rows they are of, int64 [N, k]; equal ones by row. And
            whether each query was answered, bool [N]: of one that was not, the others hold anything.

        """
        products = np.zeros((len(queries), k), np.float32)
        rows = np.zeros((len(queries), k), np.int64)
        answered = np.zeros(len(queries), np.bool_)
        for start in range(0, len(queries), MOST_QUERIES):
            part = slice(start, start + MOST_QUERIES)
            with np.errstate(invalid="ignore", over="ignore"):  # numbers that are none reach nothing
                reached = self._reached(queries[part], self._guess(queries[part], k), k)
            if reached is not None:
                products[part], rows[part], answered[part] = _largest(*reached, len(queries[part]), k)
        return products, rows, answered

    def _guess(self, queries: Floats, k: int) -> Floats:
        """What the k best of each query will probably reach: float32 [N]."""
        products = queries @ self._sample
        drawn = products.shape[1]
        expected = k * drawn / len(self._rows)
        place = drawn - min(drawn, int(expected + DEVIATIONS * expected**0.5) + 1)
        products.partition(place, axis=1)
        return products[:, place].copy()

    def _reached(self, queries: Floats, least: Floats, k: int) -> tuple[Floats, Ints, Ints] | None:
        """Every product that is at least `least` [N]: itself, its query and its row; None where they are too many."""
        columns, many = np.ascontiguousarray(queries.T), SURVIVORS * k * len(queries)
        products = np.empty((BLOCK, len(queries)), np.float32)
        reach = np.empty(products.shape, np.bool_)
        values: list[Floats] = []
        places: list[Ints] = []
        for start in range(0, len(self._rows), BLOCK):
            block = self._rows[start : start + BLOCK]
            there = np.matmul(block, columns, out=products[: len(block)])
            found = np.flatnonzero(np.greater_equal(there, least, out=reach[: len(block)]))
            many -= len(found)
            if many < 0:
                return None
            values.append(there.ravel().take(found))
            places.append(found + start * len(queries))
        rows, of_query = np.divmod(np.concatenate(places), len(queries))
        return np.concatenate(values), of_query, rows


def _largest(products: Floats, queries: Ints, rows: Ints, count: int, k: int) -> tuple[Floats, Ints, NDArray[np.bool_]]:
    """Of each of `count` queries the k largest products, as `BlockwiseSearch.search` returns them. All arrays are [n]."""
    order = np.argsort(queries.astype(np.uint16), kind="stable")  # 16 bits are sorted by counting
    found = np.bincount(queries, minlength=count)
    table = np.full((count, max(k, int(found.max()))), LAST)
    first = np.arange(count) * table.shape[1] - (np.cumsum(found) - found)
    table.ravel()[np.arange(len(order)) + np.repeat(first, found)] = _descending(products, rows)[order]
    table.sort(axis=1)
    best = table[:, :k]
    keys = (best >> 32).astype(np.int32)
    return np.where(keys < 0, ~keys, keys ^ SIGN).view(np.float32), best & 0xFFFFFFFF, found >= k


def _descending(products: Floats, rows: Ints) -> Ints:
    """Integers that ascend where products descend, and where these are equal, with the row. int64 [n].

    The bits of positive floats, as integers, ascend with them; those of negative ones descend already, but for the sign.
    """
    bits = products.view(np.int32)
    return (np.where(bits < 0, bits ^ SIGN, ~bits).astype(np.int64) << 32) | rows
