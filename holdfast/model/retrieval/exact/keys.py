"""Products and their rows as integers that sort as neighbours do: the largest product first, equals by row."""

import numpy as np

from holdfast.model.answers import Floats, Ints

LAST = np.iinfo(np.int64).max
"""Sorts behind every key."""

SIGN = np.int32(-(1 << 31))


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
