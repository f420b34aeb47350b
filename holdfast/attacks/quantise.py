"""Between the pixels an attack moves in (float, NCHW, torch) and the images a server takes (uint8, NHWC, numpy)."""

import numpy as np
import torch
from torch import Tensor

from holdfast.attacks.rounding import round_within
from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.preprocess import Pixels


def to_pixels(images: Pixels, device: torch.device | str = "cpu") -> Tensor:
    """Images as an attack takes them. Shape: uint8 [N, H, W, 3] -> float [N, 3, H, W] in [0, 1]."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2)
    return pixels.float().contiguous() / 255


def to_images(pixels: Tensor) -> Pixels:
    """The nearest images. Shape: float [N, 3, H, W] in [0, 1] -> uint8 [N, H, W, 3]."""
    levels = (pixels.detach() * 255).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())


def to_images_within(pixels: Tensor, clean: Pixels, threat: ThreatModel) -> Pixels:
    """The nearest images that still lie within `threat` of `clean`; see `round_within`.

    Args:
        pixels: float [N, 3, H, W] in [0, 1].
        clean: uint8 [N, H, W, 3], the centres of the balls.
        threat: the norm and the epsilon, in pixels of [0, 1].

    Returns:
        uint8 [N, H, W, 3].

    """
    return round_within(pixels.detach().permute(0, 2, 3, 1).double().cpu().numpy(), clean, threat)
