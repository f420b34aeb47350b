"""Images that came in without labels, kept beside the run that learns from them.

They are copied, so a spool that goes on changing does not change a run, and the run after it still has them to see again.
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from holdfast.data.labelled import DataError
from holdfast.files import write_atomically
from holdfast.model.npz import UNREADABLE, open_npz

FILE = "arrivals.npz"


@dataclass(frozen=True, eq=False)
class Arrivals:
    """Chunks of images, in the order in which they came.

    images: uint8 [M, H, W, 3], RGB.
    sizes: of each chunk, at least 2; their sum is M.
    """

    images: NDArray[np.uint8]
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        shape = self.images.shape
        if self.images.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3:
            raise DataError(f"images must be uint8 [M, H, W, 3], not {self.images.dtype} {list(shape)}")
        if sum(self.sizes) != len(self.images):
            raise DataError(f"{len(self.images)} images came in chunks of {self.sizes}")
        if small := [size for size in self.sizes if size < 2]:
            raise DataError(
                f"a chunk of {small[0]} image{'s' * (small[0] != 1)}: to learn from one it needs at least 2, which can be told"
                " apart; wait for more"
            )

    def __len__(self) -> int:
        return len(self.images)

    def chunks(self, first: int) -> list[NDArray[np.int64]]:
        """The rows of each chunk in a set where these images have the rows `first` and up: int64 each."""
        return [np.arange(start, end) for start, end in pairwise(np.cumsum((first, *self.sizes)).tolist())]

    def followed_by(self, images: NDArray[np.uint8]) -> "Arrivals":
        """These, and one more chunk. Raises DataError as the class."""
        return Arrivals(np.concatenate([self.images, images]), (*self.sizes, len(images)))

    def sha256(self) -> str:
        """Hash of pixels and chunks."""
        digest = hashlib.sha256(f"{self.images.shape} {self.sizes}".encode())
        digest.update(np.ascontiguousarray(self.images).data)
        return digest.hexdigest()

    def save(self, directory: Path) -> None:
        """Write `directory`/arrivals.npz, whole or not at all."""
        buffer = io.BytesIO()
        np.savez(buffer, images=self.images, sizes=np.array(self.sizes, dtype=np.int64))
        write_atomically(directory / FILE, buffer.getvalue())


def load_arrivals(directory: Path) -> Arrivals | None:
    """What the run in `directory` keeps; None where nothing came in.

    Raises:
        DataError: the file is damaged.

    """
    path = directory / FILE
    if not path.is_file():
        return None
    try:
        with open_npz(path) as arrays:
            images = arrays.array("images", np.uint8, None, None, None, 3)
            return Arrivals(images, tuple(arrays.array("sizes", np.int64, None).tolist()))
    except UNREADABLE as error:
        raise DataError(f"{path} is damaged: {error}; copy the run's whole folder again") from None


def no_arrivals(shape: Sequence[int]) -> Arrivals:
    """None yet, of images of this shape (H, W, 3)."""
    return Arrivals(np.empty((0, *shape), np.uint8), ())
