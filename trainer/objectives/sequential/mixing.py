"""Not to forget by learning from mixtures: LUMP (Madaan et al. 2022, arXiv 2110.06976).

Every image x of a batch is mixed with an image r drawn from a reservoir of those that came before,

    x' = m x + (1 - m) r        m from Beta(.4, .4), one for a batch

and the inner objective learns from x' alone. The authors mix views, of which x and r have their own. Here images are mixed, and
x and r share each view that the inner objective draws of x': a wrapper around any objective does not see its views. The
authors' reservoir takes in the images of the chunk itself as they come; this one holds images of earlier stages alone.
"""

import numpy as np
import torch
from torch import Tensor

from holdfast.trainer.objectives.base import ImageBatch, TrainingSet
from holdfast.trainer.objectives.memory import SharedBuffers

BETA = 0.4
"""Both parameters of the distribution of m: near 0 and near 1 are likelier than between."""

CANDIDATES = 32
"""Draws of which the first that fits is m: none of them does in one case of 10^25."""


class Reservoir(SharedBuffers):
    """A uniform sample of bounded size of all images that earlier stages learned from (Vitter 1985, algorithm R).

    Part of checkpoints, and carried from stage to stage. Threads share it, as only the loop changes it.

    Args:
        size: images that are kept, at least 1.
        side: their height and width in pixels.

    """

    images: Tensor
    """uint8 [size, side, side, 3]; the first `min(seen, size)` are of the stream, the others are black."""

    seen: Tensor
    """int64 scalar: how many images have come by."""

    def __init__(self, size: int, side: int) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(size, side, side, 3, dtype=torch.uint8))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self._kept: int | None = None

    def kept(self) -> int:
        """How many images are kept."""
        if self._kept is None:
            self._kept = min(int(self.seen), len(self.images))  # which waits for a GPU, so it is done once
        return self._kept

    @torch.no_grad()
    def offer(self, images: TrainingSet) -> None:
        """Let images come by, in their order; those that are kept are read. Which they are depends on the numbers alone."""
        seen, size = int(self.seen), len(self.images)
        numbers = np.arange(seen, seen + len(images))
        places = np.where(numbers < size, numbers, np.random.default_rng(seen).integers(0, numbers + 1))
        last = {place: row for row, place in enumerate(places.tolist()) if place < size}
        where, which = (torch.tensor(list(each), dtype=torch.int64) for each in (last.keys(), last.values()))
        device = self.images.device
        if last:
            self.images[where.to(device)] = images.at(which.to(images.order_device)).images.to(device)
        self.seen += len(images)
        self._kept = None

    def mixed(self, batch: ImageBatch, generator: torch.Generator) -> ImageBatch:
        """The batch, each image mixed with one that is kept; as it is while none is kept. Rounded to whole grey levels."""
        kept = self.kept()
        if not kept:
            return batch
        device = batch.images.device
        others = self.images[torch.randint(kept, (len(batch),), generator=generator, device=device)]
        share = draw_share(generator, device)
        images = (share * batch.images + (1 - share) * others).round().to(torch.uint8)
        return ImageBatch(images, batch.labels, batch.rows)


def draw_share(generator: torch.Generator, device: torch.device) -> Tensor:
    """A number from Beta(.4, .4): a float32 scalar in [0, 1].

    By Jöhnk's method, which needs uniform numbers only: of u and v, x = u^(1/.4) and y = v^(1/.4), the first pair with
    x + y <= 1 gives x / (x + y). The pairs are drawn at once, so nothing waits for a GPU.
    """
    pairs = torch.empty(2, CANDIDATES, dtype=torch.float64, device=device).uniform_(generator=generator)
    pairs = pairs.pow(1 / BETA).clamp_min(torch.finfo(torch.float64).tiny)
    total = pairs.sum(0)
    first = (total <= 1).int().argmax()
    return (pairs[0] / total)[first].float()
