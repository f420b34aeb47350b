"""AMDIM's encoder (Bachman et al. 2019, arXiv 1906.00910): a residual net without padding.

Because nothing is padded, every feature of the 5x5 and 7x7 maps sees a true window of the image (16 and 8 pixels wide
at 32x32) and never its own position by way of the border, so predicting them from the global vector is not trivial.
"""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.trainer.encoders.activations import Activation, activation_layer
from holdfast.trainer.encoders.base import ImageEncoder, Normalise


@dataclass(frozen=True)
class AmdimConfig:
    """AMDIM's encoder. As published for CIFAR-10: width 128, n_rkhs 1024, depth 3 (20 M parameters, .58 GMAC)."""

    width: int = 48
    """Channels of the first convolution (n, or ndf); later maps have 2, 4 and, at 64x64, 8 times as many."""

    n_rkhs: int = 128
    """Length of the embedding."""

    depth: int = 2
    """Residual units in each block: one that may change the size of the map, then depth - 1 that are 1x1."""

    image_size: Literal[32, 64] = 32
    """Height and width of the images."""

    batch_norm: bool = True
    """BatchNorm inside the blocks. The last layer, the embedding, has it always."""

    activation: Activation = "relu"
    """The nonlinearity; all but relu are smooth (arXiv 2006.14536)."""

    def build(self) -> "AmdimEncoder":
        """A freshly initialised encoder."""
        return AmdimEncoder(self)


class ResNxN(nn.Module):
    """conv(w, stride) -> BN? -> ReLU -> 1x1 conv, added to an average-pooled shortcut; no activation after the sum.

    The second convolution starts at zero, so a fresh unit is its shortcut. Channels the shortcut lacks are zeros;
    where the unit narrows, the shortcut is a convolution, as in the authors' code.
    """

    def __init__(self, n_in: int, n_out: int, window: int, stride: int, config: AmdimConfig) -> None:
        super().__init__()
        self.window, self.stride, self.missing = window, stride, n_out - n_in
        self.conv1 = nn.Conv2d(n_in, n_out, window, stride, bias=not config.batch_norm)
        self.norm = nn.BatchNorm2d(n_out) if config.batch_norm else nn.Identity()
        self.activation = activation_layer(config.activation)
        self.conv2 = nn.Conv2d(n_out, n_out, 1, bias=False)
        nn.init.zeros_(self.conv2.weight)
        self.narrow = nn.Conv2d(n_in, n_out, window, stride) if n_out < n_in else None

    def forward(self, maps: Tensor) -> Tensor:
        """[N, n_in, h, w] -> [N, n_out, (h - window) / stride + 1, ...]."""
        change: Tensor = self.conv2(self.activation(self.norm(self.conv1(maps))))
        if self.narrow is not None:
            shortcut: Tensor = self.narrow(maps)
        else:
            shortcut = F.avg_pool2d(maps, self.window, self.stride) if self.window > 1 else maps
            if self.missing:
                shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, self.missing))
        return shortcut + change


class AmdimEncoder(ImageEncoder):
    """Float [N, 3, S, S] in [0, 1] -> [N, n_rkhs], S = 32 or 64.

    Maps at 32x32: 30, 14, 7, 5, 3, 1; at 64x64 one 4x4/2 block more: 62, 30, 14, 7, 5, 3, 1.
    """

    def __init__(self, config: AmdimConfig) -> None:
        super().__init__()
        n, top = config.width, config.width * config.image_size // 8

        def block(n_in: int, n_out: int, window: int, stride: int) -> nn.Sequential:
            rest = (ResNxN(n_out, n_out, 1, 1, config) for _ in range(config.depth - 1))
            return nn.Sequential(ResNxN(n_in, n_out, window, stride, config), *rest)

        stem = [nn.Conv2d(3, n, 3), activation_layer(config.activation)]
        if config.image_size == 32:
            to7 = [ResNxN(n, n, 1, 1, config), block(n, 2 * n, 4, 2), block(2 * n, 4 * n, 2, 2)]
        else:
            to7 = [block(n, 2 * n, 4, 2), block(2 * n, 4 * n, 4, 2), block(4 * n, 8 * n, 2, 2)]
        norm7 = nn.BatchNorm2d(top) if config.batch_norm else nn.Identity()
        self.dim, self.image_size = config.n_rkhs, config.image_size
        self.widths = {1: config.n_rkhs, 5: top, 7: top}
        self.normalise = Normalise()
        self.to7 = nn.Sequential(*stem, *to7, norm7)
        self.to5 = block(top, top, 3, 1)
        last = ResNxN(top, config.n_rkhs, 3, 1, config)
        self.to1 = nn.Sequential(block(top, top, 3, 1), last, nn.BatchNorm2d(config.n_rkhs))

    def features(self, pixels: Tensor) -> dict[int, Tensor]:
        """Maps {7: [N, top, 7, 7], 5: [N, top, 5, 5], 1: [N, n_rkhs, 1, 1]}, top = 4n at 32x32 and 8n at 64x64."""
        map7 = self.to7(self.normalise(pixels))
        map5 = self.to5(map7)
        return {7: map7, 5: map5, 1: self.to1(map5)}
