"""The interface of every objective, and the images that it is given."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from holdfast.trainer.encoders import ImageEncoder


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """N training images as tensors on the device that trains: a batch, or the whole training set."""

    images: Tensor
    """uint8 [N, H, W, 3]."""

    labels: Tensor
    """int64 [N]; label-free objectives do not read them."""

    def pixels(self) -> Tensor:
        """Float [N, 3, H, W] in [0, 1], laid out channels-last."""
        return self.images.permute(0, 3, 1, 2).float() / 255

    def at(self, rows: Tensor) -> "ImageBatch":
        """The images at `rows`, int64 [n]."""
        return ImageBatch(self.images[rows], self.labels[rows])

    def chunks(self, size: int) -> Iterator["ImageBatch"]:
        """The images in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield ImageBatch(self.images[start : start + size], self.labels[start : start + size])

    def shards(self, number: int) -> "list[ImageBatch]":
        """The images in `number` consecutive shards, whose sizes differ by one at most."""
        shards = zip(self.images.tensor_split(number), self.labels.tensor_split(number), strict=True)
        return [ImageBatch(images, labels) for images, labels in shards]

    def __len__(self) -> int:
        return len(self.images)


class Objective(nn.Module, ABC):
    """A loss over an encoder and a batch, with whatever it learns besides the encoder (heads, a classifier)."""

    names: ClassVar[tuple[str, ...]]
    """The terms of the loss that `terms` may return: columns of the log."""

    @property
    def min_images(self) -> int:
        """The smallest number of training images that `prepare` can do with."""
        return 2

    def prepare(self, encoder: ImageEncoder, train_set: ImageBatch, step: int) -> None:
        """Read the whole training set before step `step` (from 1) of the stage; most objectives need not."""

    @abstractmethod
    def terms(self, encoder: ImageEncoder, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """The terms of the loss by name, scalars whose sum is minimised.

        The objective augments and attacks the batch itself; `generator` is its only source of random numbers.
        """
