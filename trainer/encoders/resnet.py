"""Pre-activation residual nets (He et al. 2016, arXiv 1603.05027): small ones, cheap to serve and to attack, and ResNet-18.

Three stages at 1/2, 1/4 and 1/8 of the image; or four, the first of them at its full size. At 32x32, three stages of one
block at width 32 have .3 M parameters and cost 12 MMAC; four of two blocks at width 64, CIFAR's ResNet-18, 11 M and 556.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.trainer.encoders.activations import Activation, activation_layer
from holdfast.trainer.encoders.base import ImageEncoder, Normalise


@dataclass(frozen=True)
class ResNetConfig:
    """A residual net. With one block a stage: width 32 is .3 M parameters and 12 MMAC, width 48 .7 M and 27."""

    width: int = 32
    """Channels of the first stage; each further one has twice as many."""

    blocks: int = 1
    """Residual blocks in each of the stages."""

    dim: int = 128
    """Length of the embedding."""

    image_size: Literal[32, 64] = 32
    """Height and width of the images."""

    activation: Activation = "relu"
    """The nonlinearity; all but relu are smooth (arXiv 2006.14536)."""

    stages: Literal[3, 4] = 3
    """Three, behind a first convolution that halves the image; or four, behind one that keeps its size. Either way the last
    is at an eighth. CIFAR's ResNet-18 is width 64, 2 blocks, 4 stages."""

    def build(self) -> "ResNetEncoder":
        """A freshly initialised encoder."""
        return ResNetEncoder(self)


class ResidualBlock(nn.Module):
    """BN-ReLU-conv3x3(stride)-BN-ReLU-conv3x3, added to its input, pooled and projected where shapes change."""

    def __init__(self, n_in: int, n_out: int, stride: int, activation: Activation) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(n_in), nn.BatchNorm2d(n_out)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.activation = activation_layer(activation)
        self.stride = stride
        self.project = nn.Conv2d(n_in, n_out, 1, bias=False) if n_in != n_out else None

    def forward(self, maps: Tensor) -> Tensor:
        """[N, n_in, h, w] -> [N, n_out, h / stride, w / stride]."""
        shortcut = F.avg_pool2d(maps, self.stride) if self.stride > 1 else maps
        if self.project is not None:
            shortcut = self.project(shortcut)
        change: Tensor = self.conv1(self.activation(self.norm1(maps)))
        change = self.conv2(self.activation(self.norm2(change)))
        return shortcut + change


class ResNetEncoder(ImageEncoder):
    """Float [N, 3, S, S] in [0, 1] -> [N, dim]. The 7-ish map is the last stage but one (S/4), the 5-ish the last (S/8)."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        widths = [config.width * 2**i for i in range(config.stages)]
        before, last = widths[-2:]

        def stage(n_in: int, n_out: int) -> nn.Sequential:
            stride = 1 if n_in == n_out else 2
            rest = (ResidualBlock(n_out, n_out, 1, config.activation) for _ in range(config.blocks - 1))
            return nn.Sequential(ResidualBlock(n_in, n_out, stride, config.activation), *rest)

        self.dim, self.image_size = config.dim, config.image_size
        self.widths = {1: config.dim, 5: last, 7: before}
        self.normalise = Normalise()
        stride = 2 if config.stages == 3 else 1
        stem = nn.Conv2d(3, config.width, 3, stride=stride, padding=1, bias=False)
        inner = [stage(n_in, n_out) for n_in, n_out in pairwise([config.width, *widths[:-1]])]
        self.to7 = nn.Sequential(stem, *inner)
        self.to5 = stage(before, last)
        self.to1 = nn.Sequential(
            nn.BatchNorm2d(last),
            activation_layer(config.activation),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(last, config.dim, 1, bias=False),
            nn.BatchNorm2d(config.dim),
        )

    def features(self, pixels: Tensor) -> dict[int, Tensor]:
        """Maps {7: [N, c / 2, S/4, S/4], 5: [N, c, S/8, S/8], 1: [N, dim, 1, 1]}; c is 4n in three stages, 8n in four."""
        map7 = self.to7(self.normalise(pixels))
        map5 = self.to5(map7)
        return {7: map7, 5: map5, 1: self.to1(map5)}
