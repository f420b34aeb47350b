"""The networks that play against the classifier: generators with and without a class, and a discriminator of pairs.

"dense" ones are those of the paper for MNIST: perceptrons on the grey image. "convolutional" ones are for colour.
"""

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Networks = Literal["dense", "convolutional"]

DENSE_GENERATOR = (500, 500)
DENSE_DISCRIMINATOR = (1000, 500, 250, 250, 250)
NOISE = 0.2
"""Standard deviation of the noise before each layer of a discriminator."""
SLOPE = 0.2
"""Of the leaky ReLU below 0."""
SMALLEST = 4
"""Height and width of the first maps of a convolutional generator."""


class ScaledLinear(nn.Module):
    """A linear map whose rows have a direction and a length of their own (weight normalisation, arXiv 1602.07868)."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.randn(n_out, n_in) * 0.05)
        self.length = nn.Parameter(torch.ones(n_out))
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, values: Tensor) -> Tensor:
        """[N, n_in] -> [N, n_out]."""
        return F.linear(values, F.normalize(self.direction, dim=1) * self.length[:, None], self.bias)


class Generator(nn.Module):
    """Noise, and perhaps a class -> an image: z [N, noise], y [N, K] -> float [N, 3, S, S] in [0, 1].

    The class is appended to what every layer is given, as in Triple-GAN (arXiv 1703.02291).
    """

    def __init__(self, noise: int, classes: int) -> None:
        super().__init__()
        self.noise, self.classes = noise, classes

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Noise z for n images, uniform in (-1, 1): [n, noise]."""
        device = next(self.parameters()).device
        return torch.empty(n, self.noise, device=device).uniform_(-1, 1, generator=generator)


class DenseGenerator(Generator):
    """A perceptron with softplus and BatchNorm; grey images."""

    def __init__(self, noise: int, classes: int, size: int) -> None:
        super().__init__(noise, classes)
        self.size = size
        widths = (noise, *DENSE_GENERATOR)
        pairs = pairwise(widths)
        self.layers = nn.ModuleList(nn.Linear(n_in + classes, n_out, bias=False) for n_in, n_out in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm1d(n_out) for n_out in widths[1:])
        self.last = ScaledLinear(widths[-1] + classes, size * size)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Without classes y is [N, 0]."""
        values = z
        for layer, norm in zip(self.layers, self.norms, strict=True):
            values = norm(F.softplus(layer(torch.cat([values, y], 1))))
        grey = torch.sigmoid(self.last(torch.cat([values, y], 1)))
        return grey.reshape(-1, 1, self.size, self.size).expand(-1, 3, -1, -1)


class ConvolutionalGenerator(Generator):
    """Maps from 4x4, twice as large and half as many at each layer; images in colour."""

    def __init__(self, noise: int, classes: int, size: int, width: int) -> None:
        super().__init__(noise, classes)
        doublings = (size // SMALLEST).bit_length() - 1
        widths = [width * 2 ** (doublings - 1 - i) for i in range(doublings)]
        self.first = nn.Linear(noise + classes, widths[0] * SMALLEST**2, bias=False)
        pairs = pairwise(widths)
        self.layers = nn.ModuleList(_doubling(n_in + classes, n_out) for n_in, n_out in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in widths)
        self.last = _doubling(widths[-1] + classes, 3)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Without classes y is [N, 0]."""
        maps = self.first(torch.cat([z, y], 1)).reshape(len(z), -1, SMALLEST, SMALLEST)
        for norm, layer in zip(self.norms, (*self.layers, self.last), strict=True):
            maps = layer(_beside(F.relu(norm(maps)), y))
        return torch.sigmoid(maps.float())


class Discriminator(nn.Module):
    """Whether an image and a class are a real pair: float [N, 3, S, S] in [0, 1], y [N, K] -> logits [N].

    Gaussian noise comes before every layer, and the class is appended to what every layer is given.
    """

    def forward(self, pixels: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """`generator` draws the noise."""
        raise NotImplementedError


class DenseDiscriminator(Discriminator):
    """A perceptron on the grey image."""

    def __init__(self, classes: int, size: int) -> None:
        super().__init__()
        widths = (size * size, *DENSE_DISCRIMINATOR, 1)
        pairs = pairwise(widths)
        self.layers = nn.ModuleList(ScaledLinear(n_in + classes, n_out) for n_in, n_out in pairs)

    def forward(self, pixels: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """`generator` draws the noise."""
        values = pixels.mean(1).flatten(1)
        *inner, last = self.layers
        for layer in inner:
            values = F.leaky_relu(layer(torch.cat([_noisy(values, generator), y], 1)), SLOPE)
        scores: Tensor = last(torch.cat([_noisy(values, generator), y], 1))
        return scores.float().squeeze(1)


class ConvolutionalDiscriminator(Discriminator):
    """Maps half as large and twice as many at each layer, down to 4x4; then their means."""

    def __init__(self, classes: int, size: int, width: int) -> None:
        super().__init__()
        halvings = (size // SMALLEST).bit_length() - 1
        widths = [3, *(width * 2**i for i in range(halvings))]
        pairs = pairwise(widths)
        self.layers = nn.ModuleList(nn.Conv2d(n_in + classes, n_out, 4, 2, padding=1) for n_in, n_out in pairs)
        self.last = ScaledLinear(widths[-1] + classes, 1)

    def forward(self, pixels: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """`generator` draws the noise."""
        maps = pixels
        for layer in self.layers:
            maps = F.leaky_relu(layer(_beside(_noisy(maps, generator), y)), SLOPE)
        scores: Tensor = self.last(torch.cat([maps.mean((2, 3)), y], 1))
        return scores.float().squeeze(1)


def build_generator(networks: Networks, noise: int, classes: int, size: int, width: int) -> Generator:
    """A generator of images of `size` x `size` pixels; without classes, `classes` is 0."""
    if networks == "dense":
        return DenseGenerator(noise, classes, size)
    return ConvolutionalGenerator(noise, classes, size, width)


def build_discriminator(networks: Networks, classes: int, size: int, width: int) -> Discriminator:
    """A discriminator of pairs of an image of `size` x `size` pixels and one of the classes."""
    if networks == "dense":
        return DenseDiscriminator(classes, size)
    return ConvolutionalDiscriminator(classes, size, width)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """int64 [N] -> float [N, K]."""
    return F.one_hot(labels, classes).float()


def _doubling(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(n_in, n_out, 3, padding=1, bias=False))


def _beside(maps: Tensor, y: Tensor) -> Tensor:
    """The class as a constant map for each of its numbers, behind maps [N, C, h, w]."""
    return torch.cat([maps, y[:, :, None, None].expand(-1, -1, *maps.shape[2:])], 1)


def _noisy(values: Tensor, generator: torch.Generator) -> Tensor:
    return values + NOISE * torch.empty_like(values).normal_(generator=generator)
