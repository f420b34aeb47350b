"""A training set whose images are read, by processes that decode, when a stage asks for them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.data.streaming.training import ImagePart, StreamedPart
from holdfast.trainer.loop.device import to_device
from holdfast.trainer.objectives import ImageBatch, TrainingSet
from holdfast.trainer.objectives.base import at_once


@dataclass(frozen=True, slots=True, eq=False)
class StreamedTrainSet:
    """As `ImageBatch`, but for the images, of which only those that were asked for are ever in memory.

    Attributes:
        part: what decodes them.
        places: int64 [N], where each is in `part`.
        labels: int64 [N], on the device that trains.
        rows: int64 [N], on that device: the place of each in the whole training set.

    """

    part: StreamedPart
    places: NDArray[np.int64]
    labels: Tensor
    rows: Tensor

    @classmethod
    def whole(cls, part: StreamedPart, device: torch.device) -> "StreamedTrainSet":
        """A whole training set of M images, whose rows are 0 to M - 1."""
        labels = torch.from_numpy(part.labels.copy()).to(device)
        return cls(part, np.arange(len(part)), labels, torch.arange(len(part), device=device))

    @property
    def order_device(self) -> torch.device:
        """The CPU, where images are read: what comes next must not wait for a GPU."""
        return torch.device("cpu")

    def __len__(self) -> int:
        return len(self.places)

    def __deepcopy__(self, memo: dict[int, Any]) -> "StreamedTrainSet":
        """Itself: nothing in it changes, and the processes are shared."""
        return self

    def at(self, places: Tensor) -> ImageBatch:
        """The images at `places`, int64 [n], on the device."""
        return next(self.batches([places]))

    def select(self, places: Tensor) -> "StreamedTrainSet":
        """The set of these images alone, int64 [n]; none is read."""
        there = places.to(self.labels.device)
        return StreamedTrainSet(self.part, self.places[places.cpu().numpy()], self.labels[there], self.rows[there])

    def chunks(self, size: int | None = None) -> Iterator[ImageBatch]:
        """The images in order, `size` at a time; by default see `at_once`."""
        height, width = self.part.source.contract.size
        size = size or at_once(height * width)
        return self.batches(torch.arange(start, min(start + size, len(self))) for start in range(0, len(self), size))

    def batches(self, places: Iterable[Tensor]) -> Iterator[ImageBatch]:
        """The images at each of `places`, int64 [n]; what comes next is decoded meanwhile."""
        asked: list[Tensor] = []

        def rows() -> Iterator[NDArray[np.int64]]:
            for some in places:
                asked.append(some)
                yield self.places[some.cpu().numpy()]

        device = self.labels.device
        for pixels in self.part.batches(rows()):
            there = asked.pop(0).to(device)
            yield ImageBatch(torch.from_numpy(pixels).to(device), self.labels[there], self.rows[there])


def whole_set(images: ImagePart, device: torch.device) -> TrainingSet:
    """A whole set: as tensors on the device, or read when it is asked for where it is not in memory."""
    return StreamedTrainSet.whole(images, device) if isinstance(images, StreamedPart) else to_device(images, device)
