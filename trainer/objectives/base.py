"""What every objective is, to the loop."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from holdfast.trainer.encoders import ImageEncoder


@dataclass(frozen=True, slots=True)
class Batch:
    """N training images, on the device that trains."""

    images: Tensor
    """uint8 [N, H, W, 3]."""

    labels: Tensor
    """int64 [N]; objectives without labels do not look."""

    def pixels(self) -> Tensor:
        """Float [N, 3, H, W] in [0, 1], laid out channels-last."""
        return self.images.permute(0, 3, 1, 2).float() / 255

    def at(self, rows: Tensor) -> "Batch":
        """The images at `rows`, int64 [n]."""
        return Batch(self.images[rows], self.labels[rows])

    def parts(self, size: int) -> Iterator["Batch"]:
        """The images in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield Batch(self.images[start : start + size], self.labels[start : start + size])

    def shares(self, number: int) -> "list[Batch]":
        """The images in `number` consecutive parts, whose sizes differ by one at most."""
        parts = zip(self.images.tensor_split(number), self.labels.tensor_split(number), strict=True)
        return [Batch(images, labels) for images, labels in parts]

    def __len__(self) -> int:
        return len(self.images)


class Objective(nn.Module, ABC):
    """A loss over an encoder and a batch, with whatever it learns besides the encoder (heads, a classifier)."""

    names: ClassVar[tuple[str, ...]]
    """The terms of the loss that `terms` may return: columns of the log."""

    @property
    def fewest(self) -> int:
        """How few training images `prepare` can do with."""
        return 2

    def prepare(self, encoder: ImageEncoder, everything: Batch, step: int) -> None:
        """Look at the whole training set before step `step` (from 1) of its stage; most objectives need not."""

    @abstractmethod
    def terms(self, encoder: ImageEncoder, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The terms of the loss by name, scalars whose sum is minimised.

        Augmenting and attacking the batch is the objective's own affair; `generator` is its only source of chance.
        """
