"""Random views of images, for whole batches at once, on the device where they are.

As AMDIM for CIFAR (arXiv 1906.00910): a flip, a translation by reflection, colour jitter, grey; or as SimCLR (arXiv
2002.05709), with a crop in the place of the translation. Every random number comes from the generator that is passed in,
one draw per image.
"""

import math
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
# Brightness in the first row, two axes of colour in the others; a hue is an angle in the plane of these two (NTSC's YIQ).
YIQ = (LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


@dataclass(frozen=True)
class AugmentConfig:
    """How far a view may be from its image. The defaults are AMDIM's for CIFAR-10; 0 turns a change off."""

    flip: float = 0.5
    """Chance that an image is mirrored, the same for its views. 0 where left and right differ, as in digits."""

    translate: int = 4
    """Largest shift along each axis, in pixels; what comes in is the image reflected."""

    translate_chance: float = 0.8
    """Chance of a shift."""

    rotate: float = 0.0
    """Largest rotation, in degrees."""

    zoom: float = 0.0
    """Largest change of size: .1 is from 1/1.1 to 1.1."""

    crop: float = 0.0
    """Smallest share of its area that an image may be cropped to, which is then enlarged to the whole; SimCLR's is .08. At 0
    nothing is cropped."""

    aspect: float = 0.0
    """Largest change of a crop's ratio of sides: 1/3, SimCLR's, is from 3/4 to 4/3."""

    brightness: float = 0.4
    """Largest relative change of brightness."""

    contrast: float = 0.4
    """Largest relative change of contrast."""

    saturation: float = 0.4
    """Largest relative change of saturation. No use on grey images."""

    hue: float = 0.2
    """Largest change of hue, in turns of the colour circle. No use on grey images."""

    jitter_chance: float = 0.8
    """Chance of the four changes of colour."""

    grey: float = 0.25
    """Chance of losing colour."""

    def __post_init__(self) -> None:
        if not 0 <= self.crop <= 1 or not self.aspect >= 0:
            raise ValueError(f"crops keep a share of an image in [0, 1] and change its sides by 0 or more, not {self}")


WEAK = AugmentConfig(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, grey=0.0)
"""Flips and shifts alone."""

STRONG = AugmentConfig(translate=0, crop=0.2, aspect=1 / 3, hue=0.1, grey=0.2)
"""SimCLR's, as is usual for CIFAR-10: crops of at least a fifth of the area, colours jittered at half of its strength."""


def shared_flip(pixels: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Mirror some of `pixels` [N, 3, H, W]: done once, before the views of an image are drawn."""
    if not config.flip:
        return pixels
    mirrored = _uniform(len(pixels), 0, 1, pixels, generator) < config.flip
    return torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)


def view(pixels: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """One random view of each image: float [N, 3, H, W] in [0, 1] -> the same."""
    return recolour(moved(pixels, config, generator), config, generator)


def moved(pixels: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """A view of each image without its changes of colour: cropped, turned, zoomed and shifted."""
    return translate(_turn_and_zoom(crop(pixels, config, generator), config, generator), config, generator)


def crop(pixels: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Cut a rectangle out of each image and enlarge it to the whole, bilinearly: float [N, 3, H, W] -> the same.

    Its area is uniform between `config.crop` and 1 of the image's, the ratio of its sides log-uniform, its place uniform; a
    side that would be longer than the image is cut to it. Inception's crop (Szegedy et al. 2015, arXiv 1409.4842), which
    draws again in that case, as each image here has one draw.
    """
    if not config.crop:
        return pixels
    n, reach = len(pixels), math.log1p(config.aspect) / 2
    side = _uniform(n, config.crop, 1, pixels, generator).sqrt()
    stretch = _uniform(n, -reach, reach, pixels, generator).exp()
    wide, high = (side * stretch).clamp(max=1), (side / stretch).clamp(max=1)
    # In the coordinates of `affine_grid`, where an image reaches from -1 to 1.
    right, down = ((1 - length) * _uniform(n, -1, 1, pixels, generator) for length in (wide, high))
    zero = torch.zeros_like(wide)
    return _resampled(pixels, [[wide, zero, right], [zero, high, down]])


def translate(pixels: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Shift each image by whole pixels; what comes in at the border is its reflection."""
    if not config.translate:
        return pixels
    n, reach = len(pixels), config.translate
    shifts = torch.randint(-reach, reach + 1, (2, n), generator=generator, device=pixels.device)
    shifts *= _uniform(n, 0, 1, pixels, generator) < config.translate_chance
    rows = _reflected(shifts[0], pixels.shape[2])[:, :, None]
    columns = _reflected(shifts[1], pixels.shape[3])[:, None, :]
    which = torch.arange(n, device=pixels.device)[:, None, None]
    # Indexing around the channels yields [N, H, W, 3], so what is permuted back is already laid out channels-last.
    return pixels[which, :, rows, columns].permute(0, 3, 1, 2)


@dataclass(frozen=True)
class ColourDraw:
    """How the colours of N images are changed: the draw of `recolour`, which other views of the same images may share.

    All float [N]: factors of brightness, contrast and saturation, and an angle of hue in radians.
    """

    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    angle: Tensor


def draw_colours(n: int, config: AugmentConfig, like: Tensor, generator: torch.Generator) -> ColourDraw:
    """Draw the changes of colour of n images, on the device of `like`."""
    jittered = _uniform(n, 0, 1, like, generator) < config.jitter_chance

    def factor(reach: float) -> Tensor:
        return torch.where(jittered, _uniform(n, 1 - reach, 1 + reach, like, generator), 1.0)

    brightness, contrast, saturation = (
        factor(config.brightness),
        factor(config.contrast),
        factor(config.saturation),
    )
    angle = 2 * math.pi * (factor(config.hue) - 1)
    saturation = saturation * (_uniform(n, 0, 1, like, generator) >= config.grey)
    return ColourDraw(brightness, contrast, saturation, angle)


def recolour(pixels: Tensor, config: AugmentConfig, generator: torch.Generator, parameters: ColourDraw | None = None) -> Tensor:
    """Jitter brightness, contrast, saturation and hue, then drop the colour of some images.

    All but contrast is one 3x3 matrix per image; contrast turns about the mean luma. Clipped to [0, 1] once, at the end. What
    changes is drawn, or given by `parameters`.
    """
    if not (config.brightness or config.contrast or config.saturation or config.hue or config.grey):
        return pixels
    n = len(pixels)
    drawn = draw_colours(n, config, pixels, generator) if parameters is None else parameters
    to_yiq, from_yiq = _yiq(pixels.device)
    turn = torch.zeros(n, 3, 3, device=pixels.device)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = drawn.saturation * drawn.angle.cos()
    turn[:, 2, 1] = drawn.saturation * drawn.angle.sin()
    turn[:, 1, 2] = -turn[:, 2, 1]
    matrix = from_yiq @ turn @ to_yiq * drawn.brightness[:, None, None]
    coloured = torch.einsum("nij,njhw->nihw", matrix, pixels)
    luma = torch.einsum("j,njhw->n", to_yiq[0], coloured) / pixels[0, 0].numel()
    centre = luma[:, None, None, None]
    return (centre + (coloured - centre) * drawn.contrast[:, None, None, None]).clamp(0, 1)


def _turn_and_zoom(pixels: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    if not (config.rotate or config.zoom):
        return pixels
    angle = _uniform(len(pixels), -config.rotate, config.rotate, pixels, generator) * (math.pi / 180)
    reach = math.log1p(config.zoom)
    size = _uniform(len(pixels), -reach, reach, pixels, generator).exp()
    cos, sin, zero = angle.cos() / size, angle.sin() / size, torch.zeros_like(size)
    return _resampled(pixels, [[cos, -sin, zero], [sin, cos, zero]])


def _resampled(pixels: Tensor, rows: list[list[Tensor]]) -> Tensor:
    """Each image by an affine map of its own: `rows` are the two of its matrix, each of three numbers [N]."""
    maps = torch.stack([torch.stack(row, 1) for row in rows], 1)
    grid = F.affine_grid(maps, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


@cache
def _yiq(device: torch.device) -> tuple[Tensor, Tensor]:
    """To YIQ and back. Made once for each device: copying numbers to a GPU waits for it, and so does inverting a matrix."""
    to_yiq = torch.tensor(YIQ)
    return to_yiq.to(device), torch.linalg.inv(to_yiq).to(device)


def _reflected(shifts: Tensor, size: int) -> Tensor:
    """Source position of each of `size` pixels under each of the shifts [N]: [N, size], reflected into the image."""
    positions = (torch.arange(size, device=shifts.device) + shifts[:, None]).abs()
    return torch.where(positions >= size, 2 * (size - 1) - positions, positions)


def _uniform(n: int, low: float, high: float, like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.empty(n, device=like.device).uniform_(low, high, generator=generator)
