"""Views whose augmentation is known: two segments of an image or a recording, under one channel, and one of them under another.

    anchor = A(s1),  same = A(s2),  other = B(s2)

A and B are channels: what a camera or a room and noise do to a picture, whatever it shows. Both are drawn independently of each
other, and A is the same for both segments.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.errors import HoldfastError
from holdfast.trainer.augment import STRONG, AugmentConfig, ColourDraw, draw_colours, moved, recolour, shared_flip
from holdfast.trainer.objectives.base import ImageBatch, TrainingSet

SEGMENTS = 2
MOST_BLUR = 2.0
"""Pixels: the widest blur's standard deviation."""


class ChannelViews(NamedTuple):
    """Views of N images, and which session each image is of.

    anchor, same, other: float [N, 3, H, W] in [0, 1]. session: int64 [N]; images of one session are no negatives of each other.
    """

    anchor: Tensor
    same: Tensor
    other: Tensor
    session: Tensor


@dataclass(frozen=True)
class CameraViews:
    """Of photographs: segments are crops, and a channel is a camera: its colours, blur and noise, drawn once for all crops."""

    augment: AugmentConfig = field(default_factory=lambda: STRONG)
    """Crops and colours."""

    blur: float = 1.0
    """Largest standard deviation of a camera's blur, in pixels."""

    noise: float = 0.05
    """Largest standard deviation of a camera's noise, in pixels of [0, 1]; the noise itself is drawn for each view."""

    augmented: bool = True
    """False: crops alone, all by the same camera."""

    def __post_init__(self) -> None:
        if not 0 <= self.blur <= MOST_BLUR or not 0 <= self.noise <= 1:
            raise ValueError(f"blur is 0 to {MOST_BLUR:g} pixels and noise 0 to 1, not {self.blur} and {self.noise}")

    def draw(self, batch: ImageBatch, train_set: Tensor, generator: torch.Generator) -> ChannelViews:
        """Views of a batch; of the training set nothing is read."""
        del train_set
        pixels = shared_flip(batch.pixels(), self.augment, generator)
        first, second = (moved(pixels, self.augment, generator) for _ in range(SEGMENTS))
        if not self.augmented:
            return ChannelViews(first, second, second, batch.rows)
        one, other = (_Camera.drawn(self, pixels, generator) for _ in range(2))
        taken = one.take(first, generator), one.take(second, generator), other.take(second, generator)
        return ChannelViews(*taken, batch.rows)

    def check(self, train_set: TrainingSet) -> None:
        """Any training set will do."""

    def min_images(self) -> int:
        """The least number of training images."""
        return 2


@dataclass(frozen=True)
class _Camera:
    """One camera for each of N images. blur, noise: float [N], standard deviations in pixels and in pixels of [0, 1]."""

    config: AugmentConfig
    colours: ColourDraw
    blur: Tensor
    noise: Tensor

    @classmethod
    def drawn(cls, views: CameraViews, pixels: Tensor, generator: torch.Generator) -> "_Camera":
        colours = draw_colours(len(pixels), views.augment, pixels, generator)
        blur, noise = (
            torch.empty(len(pixels), device=pixels.device).uniform_(0, 1, generator=generator) * most
            for most in (views.blur, views.noise)
        )
        return cls(views.augment, colours, blur, noise)

    def take(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """A picture of what is seen: float [N, 3, H, W] in [0, 1] -> the same."""
        seen = blurred(recolour(pixels, self.config, generator, self.colours), self.blur)
        grain = torch.empty_like(seen).normal_(generator=generator)
        return (seen + grain * self.noise[:, None, None, None]).clamp(0, 1)


def photographed(views: CameraViews, pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Each image as a camera of its own would have taken it: float [N, 3, H, W] in [0, 1] -> the same."""
    return _Camera.drawn(views, pixels, generator).take(pixels, generator)


def blurred(pixels: Tensor, deviation: Tensor) -> Tensor:
    """Each image blurred by a Gaussian of its own deviation, float [N] in pixels: [N, 3, H, W] -> the same."""
    reach = int(3 * MOST_BLUR)
    offsets = torch.arange(-reach, reach + 1, device=pixels.device)
    weights = torch.exp(-0.5 * (offsets / deviation.clamp_min(0.05)[:, None]) ** 2)
    kernels = (weights / weights.sum(1, keepdim=True)).repeat_interleave(pixels.shape[1], 0)[:, None, None, :]
    maps = pixels.reshape(1, -1, *pixels.shape[2:])
    for kernel, padding in ((kernels, (reach, reach, 0, 0)), (kernels.transpose(2, 3), (0, 0, reach, reach))):
        maps = F.conv2d(F.pad(maps, padding, mode="replicate"), kernel, groups=maps.shape[1])
    return maps.reshape(pixels.shape).to(memory_format=torch.channels_last)


@dataclass(frozen=True)
class SpeechViews:
    """Of recordings: pictures that a bank of sessions holds under many augmentations (`holdfast.data.speech.bank`).

    The training set is a bank, its pictures in order of session, profile and segment. An image of a batch is the anchor, and
    its profile is A; B is another profile of the same session.
    """

    profiles: int = 16
    """Augmentations of each session in the bank, of which the first changes nothing."""

    augmented: bool = True
    """False: the first profile in the place of all others."""

    def __post_init__(self) -> None:
        if self.profiles < 1 or (self.augmented and self.profiles < 2):
            raise ValueError(f"two augmentations are taken from at least 2 profiles, not {self.profiles}")

    def draw(self, batch: ImageBatch, train_set: Tensor, generator: torch.Generator) -> ChannelViews:
        """Views of a batch.

        Args:
            batch: of N images of the training set.
            train_set: uint8 [M, H, W, 3], a bank.
            generator: draws B.

        """
        each = SEGMENTS * self.profiles
        session, picture = batch.rows // each, batch.rows % each
        first, segment = picture // SEGMENTS, picture % SEGMENTS
        if self.augmented:
            step = torch.randint(1, self.profiles, (len(batch),), generator=generator, device=batch.rows.device)
            second = (first + step) % self.profiles
        else:
            first, second = torch.zeros_like(first), torch.zeros_like(first)

        def at(profile: Tensor, place: Tensor) -> Tensor:
            chosen = train_set[session * each + profile * SEGMENTS + place]
            return chosen.permute(0, 3, 1, 2).float() / 255

        following = SEGMENTS - 1 - segment
        return ChannelViews(at(first, segment), at(first, following), at(second, following), session)

    def check(self, train_set: TrainingSet) -> None:
        """Raise HoldfastError where the training set is no bank of so many profiles."""
        if not isinstance(train_set, ImageBatch):
            raise HoldfastError("a bank of sessions is kept in memory: allow it by --memory")
        each = SEGMENTS * self.profiles
        labels = train_set.labels[: len(train_set) // each * each].reshape(-1, each)
        if len(train_set) % each or bool((labels != labels[:, :1]).any()):
            raise HoldfastError(
                f"the training set's {len(train_set)} pictures are no sessions of {self.profiles} profiles: train with --data"
                " sessions, all of its labels, and --stages.0.objective.views.profiles of that bank"
            )

    def min_images(self) -> int:
        """The least number of training images: two sessions."""
        return 2 * SEGMENTS * self.profiles
