"""What an exact search finds, and products and rows as integers that sort so: the largest first, equals by row."""

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Floats, Ints

LAST = np.iinfo(np.int64).max
"""Sorts behind every key."""

SIGN = np.int32(-(1 << 31))


Found = tuple[Floats, Ints, NDArray[np.bool_]]
"""Of N queries: inner products float32 [N, k], the largest first, and the rows they are of, int64 [N, k]; equal ones by row.
And whether each query was answered, bool [N]: of one that was not, the others hold anything."""


def nothing_found(queries: int, k: int) -> Found:
    """No query is answered yet."""
    return np.zeros((queries, k), np.float32), np.zeros((queries, k), np.int64), np.zeros(queries, np.bool_)


def keys_of(products: Floats, rows: Ints) -> Ints:
    """Of float32 and int64 arrays of one shape, rows below 2 ** 32: int64 of that shape.

    The bits of positive floats, as integers, ascend with them; those of negative ones descend already, but for the sign.
    """
    bits = products.view(np.int32)
    return (np.where(bits < 0, bits ^ SIGN, ~bits).astype(np.int64) << 32) | rows


def of_keys(keys: Ints) -> tuple[Floats, Ints]:
    """The products and the rows that keys were made of."""
    high = (keys >> 32).astype(np.int32)
    return np.where(high < 0, ~high, high ^ SIGN).view(np.float32), keys & 0xFFFFFFFF
