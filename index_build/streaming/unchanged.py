"""Whether the images that a part was embedded of are still the same."""

from collections.abc import Iterator

import numpy as np

from holdfast.data.digest import image_digests
from holdfast.data.sources import LabelledSource, Stamped
from holdfast.index_build.streaming.parts import EmbeddedPart, RowRange
from holdfast.model.answers import Ints

READ_AT_ONCE = 256  # images in memory


def stamps_of(source: LabelledSource, rows: Ints) -> Ints:
    """See `Stamped`: int64 [n, 3]; [0, 3] of a source without files, which cannot change."""
    return source.stamps(rows) if isinstance(source, Stamped) else np.zeros((0, 3), dtype=np.int64)


def changed_rows(part: EmbeddedPart, piece: RowRange, source: LabelledSource) -> Iterator[int]:
    """The rows of a source whose image is no longer the one that a part was embedded of.

    Files of the same size and times are taken for the same. Others are read, and their pixels compared: a copy on another
    machine has other times.

    Args:
        part: what was embedded.
        piece: which rows it is of.
        source: the images as they are now.

    """
    rows = np.arange(piece.start, piece.stop)
    if not isinstance(source, Stamped):
        return
    touched = rows[(source.stamps(rows) != part.stamps).any(axis=1)]
    before = dict(zip(part.rows.tolist(), map(bytes, part.digests), strict=True)) if len(touched) else {}
    for start in range(0, len(touched), READ_AT_ONCE):
        some = touched[start : start + READ_AT_ONCE]
        read = source.read(some)
        now = dict(zip(read.rows.tolist(), map(bytes, image_digests(read.images)), strict=True))
        yield from (row for row in some.tolist() if now.get(row) != before.get(row))
