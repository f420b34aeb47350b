"""A batch of random images for the tests of objectives."""

import torch

from holdfast.trainer.augment import AugmentConfig
from holdfast.trainer.objectives import ImageBatch

STILL = AugmentConfig(flip=0, translate=0, brightness=0, contrast=0, saturation=0, hue=0, grey=0)
"""Views that are the images themselves."""


def batch(n: int = 12) -> ImageBatch:
    """n images of three classes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 32, 32, 3), dtype=torch.uint8, generator=generator)
    return ImageBatch.whole(images, torch.arange(n) % 3)
