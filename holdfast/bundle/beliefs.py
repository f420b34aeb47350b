"""What a training came to believe of its own images: a probability of each class, beside the label that was given."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import BundleError
from holdfast.files import replace_atomically
from holdfast.model.npz import UNREADABLE, open_npz

BELIEFS = "targets.npz"
"""Beside a run's bundle, no file of its manifest; whoever builds the index reads it."""


@dataclass(frozen=True, slots=True)
class Beliefs:
    """The adapted targets of a training set; see holdfast.trainer.objectives.adaptive.

    Attributes:
        targets: float32 [M, C], a probability of each class for each image of the training part, in its order.
        data_sha256: of the labelled set, all parts, with the labels as they were given: `Splits.sha256`.

    """

    targets: NDArray[np.float32]
    data_sha256: str

    def __post_init__(self) -> None:
        if self.targets.ndim != 2 or not np.isfinite(self.targets).all():
            raise BundleError(f"targets must be finite and [M, C], not {list(self.targets.shape)}")

    def __len__(self) -> int:
        return len(self.targets)

    def believed(self) -> NDArray[np.int64]:
        """The likeliest class of each image: int64 [M]."""
        likeliest: NDArray[np.int64] = self.targets.argmax(axis=1).astype(np.int64)
        return likeliest

    def doubted(self, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whose label, int64 [M], has less than half of the probability, and another class more than it: bool [M]."""
        kept = self.targets[np.arange(len(labels)), labels]
        doubted: NDArray[np.bool_] = (kept < 0.5) & (self.believed() != labels)
        return doubted

    def save(self, directory: Path) -> None:
        """Write targets.npz into a run's directory, whole or not at all."""
        with replace_atomically(directory / BELIEFS) as temporary, temporary.open("wb") as file:
            np.savez(file, targets=self.targets.astype(np.float32, copy=False), data_sha256=np.array(self.data_sha256))

    @classmethod
    def load(cls, directory: Path) -> Self | None:
        """Read targets.npz of a run's directory; None where there is none.

        Raises:
            BundleError: it is damaged.

        """
        path = directory / BELIEFS
        if not path.is_file():
            return None
        try:
            with open_npz(path) as table:
                return cls(table.array("targets", np.float32, None, None), str(table.array("data_sha256", np.str_)))
        except UNREADABLE as error:
            raise BundleError(
                f"{path} holds no targets: {error}; end the training again with holdfast train --resume"
            ) from None
