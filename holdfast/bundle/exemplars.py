"""The exemplars' table: what each row of the index is."""

from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.sources import Sources
from holdfast.errors import BundleError
from holdfast.model.npz import UNREADABLE, NpzFile, open_npz

DIGEST_BYTES = 16
"""Of the SHA-256 of an image's pixels, the first so many bytes are kept: enough to tell it from any other."""


class Flag(IntFlag):
    """Marks of an exemplar."""

    DISAGREES = 1  # the plurality of its own nearest neighbours has another label (Peri et al. 2019)
    ATTACKED = 2  # an adversarial copy of a labelled image, put in on purpose
    DOUBTED = 4  # its label as given is doubted, by neighbours or by the training: see `Exemplars.believed`
    PSEUDO = 8  # an image without a label, under the class that a classifier and its neighbours say


@dataclass(frozen=True, slots=True)
class Exemplars:
    """One row per exemplar, in the order of the index. Ten million of them take a few hundred megabytes, most of it names.

    Attributes:
        ids: int64 [M], unique. A new exemplar's is one more than the largest that there ever was.
        labels: int64 [M].
        sources: M names of where the images came from: "digits/17", a path. Any sequence of str is taken.
        flags: uint8 [M], bits of Flag.
        digests: uint8 [M, DIGEST_BYTES], of the pixels of each image as the encoder takes them, before any attack on them;
            zeros where one is not known. None where no exemplar's is.
        believed: int64 [M], the class that whoever doubts the label takes it for, which is the label by now where it was
            changed; -1 where nobody does. None where nobody doubts any.

    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    sources: Sources
    flags: NDArray[np.uint8]
    digests: NDArray[np.uint8] | None = None
    believed: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", Sources.of(self.sources))
        lengths = {len(self.ids), len(self.labels), len(self.sources), len(self.flags)}
        lengths |= {len(column) for column in (self.digests, self.believed) if column is not None}
        if len(lengths) != 1:
            raise BundleError(f"the exemplars' columns have different lengths: {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.ids)

    def known_digests(self) -> NDArray[np.uint8]:
        """uint8 [M, DIGEST_BYTES], zeros where one is not known."""
        return np.zeros((len(self), DIGEST_BYTES), dtype=np.uint8) if self.digests is None else np.asarray(self.digests)

    def rows_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row numbers of ids of any shape. Raises BundleError for an id that is not there."""
        if len(self.ids) == 0:
            rows = np.zeros_like(ids)
        elif self.ids[0] == 0 and self.ids[-1] == len(self) - 1 and bool((np.diff(self.ids) == 1).all()):
            rows = ids.clip(0, len(self) - 1)  # ids of an index that was built at once are its row numbers
        else:
            order = np.argsort(self.ids)
            rows = order[np.minimum(np.searchsorted(self.ids, ids, sorter=order), len(order) - 1)]
        if ids.size and (len(self.ids) == 0 or not np.array_equal(self.ids[rows], ids)):
            raise BundleError("an exemplar id is not in the table; index and exemplars do not belong together")
        return rows

    def save(self, path: Path) -> None:
        """Write the table as .npz, which holds no pickles, and not compressed: names are then read where they lie."""
        columns = {"ids": self.ids, "labels": self.labels, "flags": self.flags}
        columns |= {"source_text": self.sources.text, "source_ends": self.sources.ends}
        if self.digests is not None:
            columns["digests"] = self.digests
        if self.believed is not None:
            columns["believed"] = self.believed
        with path.open("wb") as file:
            np.savez(file, **columns)  # type: ignore[arg-type]  # numpy's stub confuses it with allow_pickle

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a table; names and digests stay on disk until they are asked for. Raises BundleError where it is not one."""
        try:
            with open_npz(path) as table:
                # Tables of holdfast 0.1 have a column of strings, all as wide as the longest.
                sources = _strings(table) if "sources" in table else _mapped_sources(table)
                digests = table.mapped("digests", np.uint8, None, DIGEST_BYTES) if "digests" in table else None
                believed = table.array("believed", np.int64, None) if "believed" in table else None
                ids, labels = (table.array(name, np.int64, None) for name in ("ids", "labels"))
                return cls(ids, labels, sources, table.array("flags", np.uint8, None), digests, believed)
        except UNREADABLE as error:
            raise BundleError(f"{path} is not an exemplars' table: {error}; run holdfast index again") from None


def _strings(table: NpzFile) -> Sources:
    return Sources.of(table.array("sources", np.str_, None).tolist())


def _mapped_sources(table: NpzFile) -> Sources:
    sources = Sources(table.mapped("source_text", np.uint8, None), table.mapped("source_ends", np.int64, None))
    if len(sources.ends) and (sources.ends[0] < 0 or bool((np.diff(sources.ends) < 0).any())):
        raise ValueError("source_ends do not ascend")
    return sources
