"""SSAT: self-supervised adversarial training (Chen et al. 2020, arXiv 1911.06470).

AMDIM's loss, where the second view of an image is an adversarial example: the encoder learns to embed an image and
its attacked version alike. Arms differ in who attacks, and in what is related:

- `label_free` pushes the embedding of another augmented view away from where it was, and keeps every pair. No label
  is read, as "self-supervised" promises.
- `guided` is the released method: PGD-kNN walks the image among labelled exemplars of another class, and only the
  pairs that fool the vote are kept; no augmentation, no regulariser on the scores.
- `taught` is for an encoder that exists and of which no maps are known, one of an imported graph: views and attack are those of
  `label_free`, and embeddings alone are related, to those that the original gives for the clean view. This arm is ours.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.attacks.losses.guides import GuideBank, guided_adversary
from holdfast.attacks.losses.latent import latent_adversary
from holdfast.attacks.pgd import frozen
from holdfast.trainer.augment import AugmentConfig, shared_flip, view
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.attack import AttackConfig
from holdfast.trainer.objectives.base import ImageBatch, Objective, TrainingSet
from holdfast.trainer.objectives.contrastive.amdim import amdim_terms
from holdfast.trainer.objectives.contrastive.heads import Heads
from holdfast.trainer.objectives.distillation.teacher import TeacherObjective


@dataclass(frozen=True)
class SsatConfig(AttackConfig):
    """Self-supervised adversarial training. The authors attack by 10 steps."""

    arm: Literal["label_free", "guided", "taught"] = "label_free"
    """Who attacks: `label_free` reads no label; `guided` is the released PGD-kNN among labelled exemplars; `taught` reads none
    either, and needs no maps within the encoder, but one that exists."""

    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """How views are drawn (label_free)."""

    refresh: int = 50
    """Steps between two embeddings of the whole training set, the bank of exemplars (guided).

    Where checkpoint_every is a multiple of it, a resumed run is the uninterrupted run."""

    guides: int = 300
    """How many exemplars of another class an image is drawn to (guided)."""

    k: int = 75
    """Neighbours of the vote that must be fooled (guided)."""

    temperature: float = 0.1
    """Of similarities (taught)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise ValueError(f"the temperature must be above 0, not {self.temperature}")

    def build(self, encoder: ImageEncoder, classes: int) -> Objective:  # noqa: ARG002 - needs no classifier
        """A fresh objective for `encoder`. Raises HoldfastError where the arm relates maps and the encoder shows none."""
        if self.arm == "taught":
            return TaughtSsat(self, encoder)
        return GuidedSsat(self, encoder) if self.arm == "guided" else LabelFreeSsat(self, encoder)


class LabelFreeSsat(Objective):
    """NCE between one augmented view and the adversarial version of another."""

    names = ("1to5", "1to7", "5to5", "scores")

    def __init__(self, config: SsatConfig, encoder: ImageEncoder) -> None:
        super().__init__()
        self.config = config
        self.heads = Heads(encoder)

    def terms(self, encoder: ImageEncoder, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw two views, attack the second, relate the two."""
        config = self.config
        images = shared_flip(batch.pixels(), config.augment, generator)
        clean, other = view(images, config.augment, generator), view(images, config.augment, generator)
        attacked = latent_adversary(
            encoder, other, config.threat, steps=config.steps, step_size=config.step_size, generator=generator
        )
        return amdim_terms(encoder, self.heads, clean, attacked, generator)


class GuidedSsat(Objective):
    """NCE between an image and its PGD-kNN adversarial example, where that one fools the vote."""

    names = ("1to5", "1to7", "5to5")
    labels = "all"

    def __init__(self, config: SsatConfig, encoder: ImageEncoder) -> None:
        super().__init__()
        self.config = config
        self.heads = Heads(encoder)
        self.bank: GuideBank | None = None

    def prepare(self, encoder: ImageEncoder, train_set: TrainingSet, step: int) -> None:
        """Embed the training set anew, as the encoder has moved on."""
        if self.bank is None or (step - 1) % self.config.refresh == 0:
            with frozen(encoder), torch.no_grad():
                chunks = [_embed(encoder, chunk.pixels()) for chunk in train_set.chunks()]
            self.bank = GuideBank(torch.cat(chunks), train_set.labels)

    def terms(self, encoder: ImageEncoder, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Attack the images, keep what fools the vote, relate each to its clean self; nothing where fewer than two do."""
        if self.bank is None:
            raise RuntimeError("the bank of exemplars is built by prepare(), which has not been called")
        clean, config = batch.pixels(), self.config
        with frozen(encoder):
            attacked = guided_adversary(
                lambda pixels: _embed(encoder, pixels),
                clean,
                batch.labels,
                self.bank,
                config.threat,
                steps=config.steps,
                step_size=config.step_size,
                number=config.guides,
                generator=generator,
            )
            with torch.no_grad():
                fooled = knn_vote(_embed(encoder, attacked), self.bank, config.k) != batch.labels
        if int(fooled.sum()) < 2:
            return {}
        terms = amdim_terms(encoder, self.heads, clean[fooled], attacked[fooled], generator)
        del terms["scores"]
        return terms


class TaughtSsat(TeacherObjective):
    """Each attacked view is found again among the clean views of the batch, by where the original puts these.

    With z of unit length, of the student's attacked view and the teacher's clean ones, at temperature t:

        loss = mean over i of  -log( e^{<z'_i, z_i> / t} / sum over j of e^{<z'_i, z_j> / t} ),    and so for the clean view
    """

    names = ("clean", "robust")

    def __init__(self, config: SsatConfig, encoder: ImageEncoder) -> None:
        super().__init__(encoder)
        self.config = config

    def terms(self, encoder: ImageEncoder, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw two views, attack the second, relate both to what the teacher gives for the first."""
        config = self.config
        images = shared_flip(batch.pixels(), config.augment, generator)
        clean, other = view(images, config.augment, generator), view(images, config.augment, generator)
        goal = self.targets(clean)
        attacked = latent_adversary(
            encoder, other, config.threat, steps=config.steps, step_size=config.step_size, generator=generator
        )
        own = torch.arange(len(goal), device=goal.device)
        embeddings = _embed(encoder, torch.cat([clean, attacked]))
        with torch.autocast(goal.device.type, enabled=False):  # see `nt_xent`
            scores = embeddings @ goal.T / config.temperature
        return {name: F.cross_entropy(half, own) for name, half in zip(self.names, scores.chunk(2), strict=True)}


def knn_vote(z: Tensor, bank: GuideBank, k: int) -> Tensor:
    """The label most frequent among the k nearest of the bank, the smaller one in a tie. [N, D] -> int64 [N]."""
    rows = (z @ bank.embeddings.T).topk(min(k, len(bank.labels)), dim=1).indices
    return F.one_hot(bank.labels[rows]).sum(1).argmax(1)


def _embed(encoder: ImageEncoder, pixels: Tensor) -> Tensor:
    return F.normalize(encoder(pixels).float(), dim=1)
