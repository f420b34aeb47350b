"""The exemplars' table: what each row of the index is."""

import zipfile
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import BundleError


class Flag(IntFlag):
    """Marks of an exemplar."""

    DISAGREES = 1  # the plurality of its own nearest neighbours has another label (Peri et al. 2019)
    ATTACKED = 2  # an adversarial copy of a labelled image, put in on purpose


@dataclass(frozen=True, slots=True)
class Exemplars:
    """One row per exemplar, in the order of the index.

    Attributes:
        ids: int64 [M], unique.
        labels: int64 [M].
        sources: str [M], where the image came from: "digits/17", a path.
        flags: uint8 [M], bits of Flag.

    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    sources: NDArray[np.str_]
    flags: NDArray[np.uint8]

    def __post_init__(self) -> None:
        lengths = {len(self.ids), len(self.labels), len(self.sources), len(self.flags)}
        if len(lengths) != 1:
            raise BundleError(f"the exemplars' columns have different lengths: {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.ids)

    def rows_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row numbers of ids of any shape. Raises BundleError for an id that is not there."""
        order = np.argsort(self.ids)
        positions = np.searchsorted(self.ids, ids, sorter=order)
        rows = order[np.minimum(positions, len(order) - 1)]
        if not np.array_equal(self.ids[rows], ids):
            raise BundleError("an exemplar id is not in the table; index and exemplars do not belong together")
        return rows

    def save(self, path: Path) -> None:
        """Write the table as .npz, which holds no pickles."""
        columns = {"ids": self.ids, "labels": self.labels, "sources": self.sources, "flags": self.flags}
        with path.open("wb") as file:
            np.savez_compressed(file, **columns)  # type: ignore[arg-type]  # numpy's stub confuses it with allow_pickle

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a table. Raises BundleError where it is not one."""
        try:
            with np.load(path, allow_pickle=False) as table:
                return cls(table["ids"], table["labels"], table["sources"], table["flags"])
        except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
            raise BundleError(f"{path} is not an exemplars' table: {error}; run holdfast index again") from None
