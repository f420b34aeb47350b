"""The interface of every objective, and the images that it is given."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.head import LearnedHead
from holdfast.trainer.objectives.memory import ImageMemory
from holdfast.trainer.objectives.player import Player

PIXELS_AT_ONCE = 512 * 32 * 32


def at_once(pixels: int) -> int:
    """How many images of so many pixels are embedded at once, so that memory does not grow with their size."""
    return max(1, PIXELS_AT_ONCE // pixels)


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """N training images as tensors on the device that trains: a batch, or the whole training set."""

    images: Tensor
    """uint8 [N, H, W, 3]."""

    labels: Tensor
    """int64 [N], UNKNOWN (-1) of an image whose class is not known; label-free objectives do not read them."""

    rows: Tensor
    """int64 [N]: the place of each image in the whole training set; what is remembered of images is found by it."""

    @classmethod
    def whole(cls, images: Tensor, labels: Tensor) -> "ImageBatch":
        """A whole training set of M images, whose rows are 0 to M - 1."""
        return cls(images, labels, torch.arange(len(images), device=images.device))

    def pixels(self) -> Tensor:
        """Float [N, 3, H, W] in [0, 1], laid out channels-last."""
        return self.images.permute(0, 3, 1, 2).float() / 255

    def at(self, places: Tensor) -> "ImageBatch":
        """The images at `places` of this batch, int64 [n]."""
        return ImageBatch(self.images[places], self.labels[places], self.rows[places])

    @property
    def order_device(self) -> torch.device:
        """Where it is worked out which images come next: the device of the images."""
        return self.labels.device

    def select(self, places: Tensor) -> "ImageBatch":
        """As `at`."""
        return self.at(places)

    def batches(self, places: Iterable[Tensor]) -> Iterator["ImageBatch"]:
        """The images at each of `places`, int64 [n]."""
        return map(self.at, places)

    def chunks(self, size: int | None = None) -> Iterator["ImageBatch"]:
        """The images in order, `size` at a time; by default as many as have the pixels of 512 of 32 x 32."""
        size = size or at_once(self.images.shape[1] * self.images.shape[2])
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield ImageBatch(self.images[part], self.labels[part], self.rows[part])

    def shards(self, number: int) -> "list[ImageBatch]":
        """The images in `number` consecutive shards, whose sizes differ by one at most."""
        parts = (each.tensor_split(number) for each in (self.images, self.labels, self.rows))
        return [ImageBatch(images, labels, rows) for images, labels, rows in zip(*parts, strict=True)]

    def __len__(self) -> int:
        return len(self.images)


class TrainingSet(Protocol):
    """What a stage learns from: images that are all on the device (`ImageBatch`), or are read when they are asked for."""

    @property
    def labels(self) -> Tensor:
        """int64 [N], on the device."""

    @property
    def rows(self) -> Tensor:
        """int64 [N], as of `ImageBatch`."""

    @property
    def order_device(self) -> torch.device:
        """Where it is worked out which images come next."""

    def __len__(self) -> int: ...

    def at(self, places: Tensor) -> ImageBatch:
        """The images at `places`, int64 [n], on the device."""

    def select(self, places: Tensor) -> "TrainingSet":
        """The set of these images alone, int64 [n]; none is read."""

    def chunks(self, size: int | None = None) -> Iterator[ImageBatch]:
        """The images in order, `size` at a time; by default see `at_once`."""

    def batches(self, places: Iterable[Tensor]) -> Iterator[ImageBatch]:
        """The images at places that are known beforehand, int64 [n] each: what comes next may be read meanwhile."""


class Objective(nn.Module, ABC):
    """A loss over an encoder and a batch, with whatever it learns besides the encoder (heads, a classifier)."""

    names: tuple[str, ...]
    """The terms of the loss that `terms` may return: columns of the log."""

    labels: ClassVar[Literal["none", "some", "all"]] = "none"
    """Of how many training images labels are read: of none, of those that have one, or of all, so that each must have one."""

    stage_steps: int = 1
    """Steps of the stage, once `size` has been called."""

    replay: float = 0.0
    """Share of the images of earlier chunks of a stream that is kept to be seen again."""

    @property
    def min_images(self) -> int:
        """The smallest number of training images that `prepare` can do with."""
        return 2

    def size(self, images: int, steps: int) -> None:
        """Learn how large the stage is: called once, before a checkpoint is restored and before anything is prepared.

        Every `ImageMemory` gets a row for each image, and every objective within this one the steps of the stage.

        Args:
            images: M, of the training set.
            steps: of the stage.

        """
        for module in self.modules():
            if isinstance(module, ImageMemory):
                module.allocate(images)
            elif isinstance(module, Objective):
                module.stage_steps = steps

    def players(self) -> tuple[Player, ...]:
        """Who learns at a rate or under a clip of its own; the encoder and all that is not named are one more player."""
        return ()

    def begin(self, encoder: ImageEncoder, train_set: TrainingSet, before: Tensor) -> None:
        """Look back before the first step of a stage that follows another one; not again where a run is resumed within it.

        Args:
            encoder: as the stage before left it.
            train_set: the whole training set.
            before: int64 [n], its rows that the stage before learned from.

        """

    def prepare(self, encoder: ImageEncoder, train_set: TrainingSet, step: int) -> None:
        """Read what the stage learns from, before step `step` (from 1) of the stage; most objectives need not."""

    def finish(self, encoder: ImageEncoder, learned: TrainingSet, seed: int) -> None:
        """Leave the encoder ready, after the last step of a stage. `learned` is what it learned from."""

    def watched(self) -> dict[str, Tensor]:
        """Scalar buffers that the log shows beside the terms, by column name; threads average them."""
        return {}

    def beliefs(self, encoder: ImageEncoder, train_set: TrainingSet) -> Tensor | None:  # noqa: ARG002 - most have none
        """What is believed of each training image when the stage is over: float32 [M, C] probabilities, or None."""
        return None

    def classifier_head(self) -> LearnedHead | None:
        """What classifies the encoder's embeddings, where something does."""
        return None

    @abstractmethod
    def terms(self, encoder: ImageEncoder, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """The terms of the loss by name, scalars whose sum is minimised.

        The objective augments and attacks the batch itself; `generator` is its only source of random numbers.
        """
