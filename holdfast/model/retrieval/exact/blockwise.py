"""Exact search of many neighbours at once: the matrix product, block by block, and of each block only what can be among them.

faiss keeps the best k of each query while it walks the rows, which at k = 1,000 costs more than the product itself. Here a
sample of the rows says first, for each query, what similarity its k best will reach. Of the product, numpy then picks what
reaches that, which is little more than k, and sorts it once. A query of which the sample said too much is searched again by
whoever asked, so the answer is exact whatever the sample is.
"""

import numpy as np

from holdfast.model.answers import Floats, Ints
from holdfast.model.retrieval.exact.keys import LAST, Found, keys_of, nothing_found, of_keys
from holdfast.model.retrieval.exact.sample import RowSample

LEAST_K = 128
"""Below so many neighbours faiss's own search is as cheap (python -m bench.knn)."""

LEAST_QUERIES = 12
"""Below so many queries faiss's own search is as cheap."""

MOST_QUERIES = 128
"""Searched at a time: their part of a block of the product stays in cache."""

BLOCK = 2048
"""Rows of a block."""

SURVIVORS = 4
"""Of each neighbour that is wanted, so many rows may reach what the sample said; beyond, the sample is no guide."""


class BlockwiseSearch:
    """Searches rows that stay as they are. Threads may share one.

    Args:
        rows: float32 [M, D], C-contiguous; kept, not copied.
        sample: of them.

    """

    def __init__(self, rows: Floats, sample: RowSample) -> None:
        self._rows, self._sample = rows, sample

    def worth(self, queries: int, k: int) -> bool:
        """Whether this is cheaper than faiss's search, on one thread."""
        return queries >= LEAST_QUERIES and LEAST_K <= k <= len(self._rows) // (2 * SURVIVORS)

    def search(self, queries: Floats, k: int) -> Found:
        """The k rows with the largest inner products.

        Args:
            queries: float32 [N, D].
            k: neighbours, at most M.

        Returns:
            Products, rows and which queries were answered, as Found has them.

        """
        products, rows, answered = nothing_found(len(queries), k)
        for start in range(0, len(queries), MOST_QUERIES):
            part = slice(start, start + MOST_QUERIES)
            with np.errstate(invalid="ignore", over="ignore"):  # numbers that are none reach nothing
                reached = self._reached(queries[part], self._sample.guess(queries[part], k), k)
            if reached is not None:
                products[part], rows[part], answered[part] = _largest(*reached, len(queries[part]), k)
        return products, rows, answered

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


def _largest(products: Floats, queries: Ints, rows: Ints, count: int, k: int) -> Found:
    """Of each of `count` queries the k largest products, as `BlockwiseSearch.search` returns them. All arrays are [n]."""
    order = np.argsort(queries.astype(np.uint16), kind="stable")  # 16 bits are sorted by counting
    found = np.bincount(queries, minlength=count)
    table = np.full((count, max(k, int(found.max()))), LAST)
    first = np.arange(count) * table.shape[1] - (np.cumsum(found) - found)
    table.ravel()[np.arange(len(order)) + np.repeat(first, found)] = keys_of(products, rows)[order]
    table.sort(axis=1)
    return *of_keys(table[:, :k]), found >= k
