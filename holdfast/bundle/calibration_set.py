"""The held-out images that credibility rests on, as embeddings: an index is calibrated again without the images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from holdfast.errors import BundleError, ContractMismatchError
from holdfast.model.answers import Floats, Ints
from holdfast.model.npz import UNREADABLE, open_npz
from holdfast.model.retrieval.unit_length import TOLERANCE


@dataclass(frozen=True, slots=True)
class CalibrationSet:
    """Images held out of training and index, embedded by the bundle's encoder.

    Attributes:
        embeddings: float32 [n, D], L2-normalised.
        labels: int64 [n], their true classes.
        sources: str [n], where each image came from.

    """

    embeddings: Floats
    labels: Ints
    sources: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 2 or not len(self.embeddings) == len(self.labels) == len(self.sources):
            raise BundleError(
                f"the calibration set's columns do not match: embeddings {list(self.embeddings.shape)},"
                f" {len(self.labels)} labels, {len(self.sources)} sources"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def refuse_misfit(self, dim: int, classes: int, where: str) -> None:
        """Raises ContractMismatchError unless embeddings have `dim` dimensions and length 1, and labels lie in [0, classes)."""
        if self.embeddings.shape[1] != dim:
            raise ContractMismatchError(
                f"{where} holds {self.embeddings.shape[1]} dimensions, the encoder returns {dim}: run holdfast index again"
            )
        lengths = np.einsum("nd,nd->n", self.embeddings, self.embeddings)
        if not (np.abs(lengths - 1) <= TOLERANCE).all():  # NaN is not below either
            raise ContractMismatchError(f"{where} holds embeddings that are not of unit length: run holdfast index again")
        if len(self) and not 0 <= self.labels.min() <= self.labels.max() < classes:
            raise ContractMismatchError(f"{where} has labels beyond the {classes} classes: run holdfast index again")

    def save(self, path: Path) -> None:
        """Write it as .npz, which holds no pickles. Sources are one text, cut by NUL: no row pays for the longest name."""
        sources = np.frombuffer("\0".join(self.sources).encode(errors="surrogateescape"), dtype=np.uint8)
        with path.open("wb") as file:
            np.savez_compressed(
                file,
                embeddings=self.embeddings.astype(np.float32, copy=False),
                labels=self.labels.astype(np.int64, copy=False),
                sources=sources,
            )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read it. Raises BundleError where the file is no calibration set."""
        try:
            with open_npz(path) as held:
                labels = held.array("labels", np.int64, None)
                text = held.array("sources", np.uint8, None).tobytes().decode(errors="surrogateescape")
                sources = tuple(text.split("\0")) if len(labels) else ()
                return cls(held.array("embeddings", np.float32, None, None), labels, sources)
        except UNREADABLE as error:
            raise BundleError(f"{path} is not a calibration set: {error}; run holdfast index again") from None
