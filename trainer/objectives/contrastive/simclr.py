"""SimCLR (Chen et al. 2020, arXiv 2002.05709): two views of an image agree, against all others of the batch, label-free.

A batch of N images has 2N views, of which i and j(i) show the same image. With z_i of unit length, at temperature t:

    loss = mean over i of  -log( e^{<z_i, z_j(i)> / t} / sum over k != i of e^{<z_i, z_k> / t} )

the authors' NT-Xent. The z are the embeddings behind a projection head, which is not exported: the head may drop what
distinguishes views of one image, their colours for instance, and the embedding below it need not.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.trainer.augment import STRONG, AugmentConfig, shared_flip, view
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.base import ImageBatch, Objective


@dataclass(frozen=True)
class SimclrConfig:
    """Self-supervised pre-training: SimCLR. More images in a batch are more negatives; the authors' have 256 to 8,192."""

    temperature: float = 0.5
    """Temperature t of the similarities; the authors' best for CIFAR-10."""

    hidden: int = 512
    """Width of the head's hidden layer."""

    projection: int = 128
    """Length of what the head makes of an embedding."""

    augment: AugmentConfig = field(default_factory=lambda: STRONG)
    """How the two views are drawn. Without crops (`crop`) views are too alike for there to be much to learn."""

    def __post_init__(self) -> None:
        if not self.temperature > 0 or min(self.hidden, self.projection) < 1:
            raise ValueError(f"SimCLR needs a temperature above 0 and layers of at least 1 unit, not {self}")

    def build(self, encoder: ImageEncoder, classes: int) -> "Simclr":  # noqa: ARG002 - reads no labels
        """A fresh objective for `encoder`."""
        return Simclr(self, encoder)


class Simclr(Objective):
    """NT-Xent between two views behind a head of two layers; no label is read."""

    names = ("nt_xent",)

    def __init__(self, config: SimclrConfig, encoder: ImageEncoder) -> None:
        super().__init__()
        self.config = config
        # BatchNorm after the hidden layer, as in the authors' code; the paper does not name it.
        self.head = nn.Sequential(
            nn.Linear(encoder.dim, config.hidden, bias=False),
            nn.BatchNorm1d(config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.projection, bias=False),
        )

    def terms(self, encoder: ImageEncoder, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw two views of each image, each mirrored or not by itself, and contrast them."""
        augment = self.config.augment
        pixels = batch.pixels()
        views = view(shared_flip(torch.cat([pixels, pixels]), augment, generator), augment, generator)
        return {"nt_xent": nt_xent(*self.head(encoder(views)).chunk(2), temperature=self.config.temperature)}


def nt_xent(first: Tensor, second: Tensor, *, temperature: float) -> Tensor:
    """The normalised, temperature-scaled cross-entropy of the paper's equation 1, averaged over both directions.

    In float32 also within mixed precision: over a small temperature, bfloat16's third digit would decide.

    Args:
        first: float [N, D], one view of each image; of any length, as only directions count. N at least 2.
        second: float [N, D], another view of the same images, in the same order.
        temperature: t, above 0.

    Returns:
        A float32 scalar.

    """
    n = len(first)
    with torch.autocast(first.device.type, enabled=False):
        z = F.normalize(torch.cat([first, second]).float(), dim=1)
        scores = z @ z.T / temperature
    itself = torch.eye(2 * n, dtype=torch.bool, device=z.device)
    partners = torch.arange(2 * n, device=z.device).roll(n)
    return F.cross_entropy(scores.masked_fill(itself, -torch.inf), partners)
