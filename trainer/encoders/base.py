"""What every encoder is, to the trainer, the attacks and the export."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Normalise(nn.Module):
    """Per-channel standardisation of pixels in [0, 1], as part of the encoder: epsilon stays in pixels everywhere."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((1, channels, 1, 1), 0.5))
        self.register_buffer("std", torch.full((1, channels, 1, 1), 0.25))

    def fit(self, images: Tensor) -> None:
        """Take mean and standard deviation from training images, uint8 [N, H, W, C]."""
        pixels = images.reshape(-1, images.shape[-1]).double() / 255
        self.mean.copy_(pixels.mean(0).reshape(self.mean.shape))
        # A channel that hardly varies (one colour everywhere) must not be blown up into noise.
        self.std.copy_(pixels.std(0).clamp_min(0.05).reshape(self.std.shape))

    def fit_counts(self, counts: Tensor) -> None:
        """As `fit`, from how often each value is in each channel of the training images: int64 [C, 256]."""
        values, total = torch.arange(256, dtype=torch.float64) / 255, counts.sum(1).double()
        mean = (counts * values).sum(1) / total
        variance = (counts * (values - mean[:, None]).square()).sum(1) / (total - 1)
        self.mean.copy_(mean.reshape(self.mean.shape))
        self.std.copy_(variance.sqrt().clamp_min(0.05).reshape(self.std.shape))

    def forward(self, pixels: Tensor) -> Tensor:
        """Float [N, C, H, W] in [0, 1] -> the same shape, about mean 0 and deviation 1 over the training set."""
        return (pixels - self.mean) / self.std


class ImageEncoder(nn.Module, ABC):
    """Pixels float [N, 3, H, W] in [0, 1] -> embeddings float [N, dim], not yet of unit length.

    The embedding as served is `F.normalize(encoder(pixels), dim=1)`. Besides the global vector an encoder shows two
    maps of local features, the 5x5-ish and the 7x7-ish, which AMDIM's objective predicts from the global one.
    """

    dim: int
    """Length of the embedding."""

    image_size: int
    """Height and width of the images it takes."""

    widths: dict[int, int]
    """Channels of each map of `features`."""

    normalise: Normalise

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images it takes."""
        return self.image_size, self.image_size

    def exported(self) -> "ImageEncoder":
        """The encoder as it is exported: without what is for training alone."""
        return self

    @abstractmethod
    def features(self, pixels: Tensor) -> dict[int, Tensor]:
        """Maps {1: [N, dim, 1, 1], 5: [N, widths[5], ~5, ~5], 7: [N, widths[7], ~7, ~7]}."""

    def forward(self, pixels: Tensor) -> Tensor:
        """The global vector, [N, dim]."""
        return self.features(pixels)[1].flatten(1)
