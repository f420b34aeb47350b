"""Augmentation adversarial training (Huh et al. 2020, arXiv 2007.12085): an embedding that forgets room, noise and camera.

Three views of each image, `anchor` and `same` under one augmentation and `other` under another, of two segments
(`channel_views`), give embeddings e_a, e_s and e_p. An angular prototypical loss tells images apart, with w and b learned,

    S_ij = w cos(e_a,i ; e_p,j) + b,    L_s = cross-entropy of the rows of S, the diagonal is right

while a discriminator C tells pairs [e_a, e_s], of one augmentation, from [e_a, e_p], of two. Content differs in both pairs, so
what C finds is what embeddings still know of the augmentation, and the encoder f is to hide it:

    C minimises CE(C([e_a, e_.])),    f, w and b minimise L_s - weight CE(C([e_a, e_.]))

The authors train C first and then f, in two steps with an optimiser each. Here a layer that reverses gradients on their way
from C to f makes one backward pass of both, which then are simultaneous, as in Ganin and Lempitsky (arXiv 1409.7495). With a
weight of 0 nothing of C reaches f, and C still says what it could tell.
"""

from dataclasses import dataclass, field
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.base import ImageBatch, Objective, TrainingSet
from holdfast.trainer.objectives.contrastive.channel_views import CameraViews, SpeechViews
from holdfast.trainer.objectives.player import Player


@dataclass(frozen=True)
class AugmentationAdversarialConfig:
    """Augmentation adversarial training: label-free, of recordings' sessions or of photographs."""

    weight: float = 3.0
    """Of the discriminator against the encoder, the authors' lambda; 0 trains on augmented views alone."""

    hidden: int = 512
    """Width of the discriminator's hidden layer."""

    scale: float = 10.0
    """The factor w of cosines at first; it is learned, and stays above 0."""

    offset: float = -5.0
    """The offset b at first."""

    views: SpeechViews | CameraViews = field(default_factory=SpeechViews)
    """How views are drawn: from a bank of sessions, or of photographs by two cameras."""

    def __post_init__(self) -> None:
        if not self.weight >= 0 or self.hidden < 1 or not self.scale > 0:
            raise ValueError(f"the weight is at least 0, the scale above 0 and hidden at least 1, not {self}")

    def build(self, encoder: ImageEncoder, classes: int) -> "AugmentationAdversarial":  # noqa: ARG002 - reads no labels
        """A fresh objective for `encoder`."""
        return AugmentationAdversarial(self, encoder)


class AugmentationAdversarial(Objective):
    """A prototypical loss between two augmentations, against a discriminator of pairs; no label is read."""

    names = ("prototypical", "discriminator")

    def __init__(self, config: AugmentationAdversarialConfig, encoder: ImageEncoder) -> None:
        super().__init__()
        self.config = config
        self.scale = nn.Parameter(torch.tensor(config.scale))
        self.offset = nn.Parameter(torch.tensor(config.offset))
        self.discriminator = pair_discriminator(encoder.dim, config.hidden)
        self._train_set = _Held(torch.zeros(0, 1, 1, 3, dtype=torch.uint8))

    @property
    def min_images(self) -> int:
        """As many as the views need."""
        return self.config.views.min_images()

    def players(self) -> tuple[Player, ...]:
        """The discriminator, whose weights are not pulled toward 0."""
        return (Player("discriminator", (self.discriminator,), weight_decay=0.0),)

    def prepare(self, encoder: ImageEncoder, train_set: TrainingSet, step: int) -> None:
        """Keep hold of the training set, which other augmentations of a session are taken from.

        Raises:
            HoldfastError: the views cannot be drawn from it.

        """
        del encoder
        if step == 1:
            self.config.views.check(train_set)
        if isinstance(train_set, ImageBatch):
            self._train_set = _Held(train_set.images)

    def terms(self, encoder: ImageEncoder, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw three views, embed them as one batch, so that BatchNorm cannot tell the augmentations apart, and compare."""
        views = self.config.views.draw(batch, self._train_set.images, generator)
        embedded = encoder(torch.cat(views[:3])).float()
        anchor, same, other = embedded.chunk(3)
        with torch.autocast(embedded.device.type, enabled=False):
            scale = self.scale.clamp_min(1e-6)
            contrast = prototypical(anchor, other, views.session, scale=scale, offset=self.offset)
            pairs = torch.cat([torch.cat([anchor, same], 1), torch.cat([anchor, other], 1)])
            alike = 1 - torch.arange(2, device=pairs.device).repeat_interleave(len(batch))
            logits = self.discriminator(reversed_gradient(pairs, self.config.weight))
            return {"prototypical": contrast, "discriminator": F.cross_entropy(logits, alike)}


class _Held:
    """A tensor that copies of an objective share: threads take one, and no state holds it."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def pair_discriminator(dim: int, hidden: int) -> nn.Sequential:
    """Float [N, 2 dim], two embeddings side by side, -> logits [N, 2]: of different augmentations, and of the same."""
    return nn.Sequential(
        nn.BatchNorm1d(2 * dim),
        nn.ReLU(),
        nn.Linear(2 * dim, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, 2),
    )


def prototypical(anchor: Tensor, other: Tensor, session: Tensor, *, scale: Tensor, offset: Tensor) -> Tensor:
    """The angular prototypical loss (Chung et al. 2020, arXiv 2003.11982), of one utterance for each prototype.

    Args:
        anchor: float32 [N, D], of any length, as only directions count.
        other: float32 [N, D], the prototypes, in the same order.
        session: int64 [N]; prototypes of an anchor's own session, but for its own, are left out.
        scale: w, a scalar above 0.
        offset: b, a scalar.

    Returns:
        A float32 scalar.

    """
    scores = scale * F.normalize(anchor, dim=1) @ F.normalize(other, dim=1).T + offset
    itself = torch.eye(len(anchor), dtype=torch.bool, device=anchor.device)
    alike = (session[:, None] == session[None, :]) & ~itself
    return F.cross_entropy(scores.masked_fill(alike, -torch.inf), torch.arange(len(anchor), device=anchor.device))


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor, weight: float) -> Tensor:
        context.weight = weight
        return values.view_as(values)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -context.weight * gradients[0], None


def reversed_gradient(values: Tensor, weight: float) -> Tensor:
    """The same values, whose gradient is multiplied by -weight on its way back."""
    reversed_values: Tensor = _Reversal.apply(values, weight)  # type: ignore[no-untyped-call]  # torch's stubs
    return reversed_values
