"""Learning on from a stream, chunk after chunk, without forgetting (Hu et al., ICLR 2022, arXiv 2104.12081).

Not a loss of its own, but a wrapper around any label-free objective. Four things hold on to what was learned before:

    replay    a share of the images of earlier chunks is kept; a quarter of every batch is drawn from it
    anchor    loss = inner + lambda sum_k Omega_k (theta_k - theta*_k)^2
    distil    loss = inner + weight x what predicts the encoder of the stage before (CaSSLe, see `distillation`)
    mix       every image is mixed with one of a few that are kept of earlier chunks (LUMP, see `mixing`)

where theta* are the encoder's weights as the stage before left them, and Omega is how much each of them matters to what the
encoder makes of the images of that stage (memory-aware synapses, see `importance`). Omega is brought to a mean of 1 for each
chunk, so that lambda means the same at every scale of the embedding, and then added up over the chunks, as MAS does.

What a chunk leaves of BatchNorm's running statistics is of that chunk alone: they are estimated anew at its end, on its images
and those that are kept. An inner objective that learns from a teacher takes the encoder as the stage before left it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import tyro
from torch import Tensor

from holdfast.trainer.augment import STRONG, AugmentConfig, shared_flip, view
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.adaptive.self_distilled import SelfDistilledConfig
from holdfast.trainer.objectives.base import ImageBatch, Objective, TrainingSet
from holdfast.trainer.objectives.contrastive.amdim import AmdimObjectiveConfig
from holdfast.trainer.objectives.contrastive.simclr import SimclrConfig
from holdfast.trainer.objectives.distillation.clusters import ClustersConfig
from holdfast.trainer.objectives.distillation.deacl import DeaclConfig
from holdfast.trainer.objectives.distillation.teacher import TeacherObjective
from holdfast.trainer.objectives.player import Player
from holdfast.trainer.objectives.sequential.distillation import Distillation
from holdfast.trainer.objectives.sequential.importance import WeightAnchor, importance, of_mean_one
from holdfast.trainer.objectives.sequential.mixing import Reservoir
from holdfast.trainer.objectives.ssat import SsatConfig
from holdfast.trainer.objectives.statistics import estimate_batchnorm

LabelFreeConfig = AmdimObjectiveConfig | ClustersConfig | DeaclConfig | SelfDistilledConfig | SimclrConfig | SsatConfig
"""The objectives that read no label; of SSAT the label-free arm."""

INNER = "inner."


@dataclass(frozen=True)
class SequentialConfig:
    """Learn on from one chunk of a stream, and hold on to what was learned from those before."""

    inner: tyro.conf.AvoidSubcommands[LabelFreeConfig] = field(default_factory=SimclrConfig)
    """What is learned from the images: any label-free objective."""

    replay: float = 0.1
    """Share of the images of earlier chunks that is kept, a quarter of every batch; 0 sees none of them again."""

    anchor: float = 0.0
    """Weight lambda of staying near the weights that mattered before; 0 lets them go. .1, 1 and 10 are worth a try."""

    anchor_batch: int = 16
    """Images at once whose effect on a weight is measured; 1 is the paper, more are faster."""

    distil: float = 0.0
    """Weight of predicting what the encoder of the stage before made of views of the batch (CaSSLe); 0 does not, the authors'
    is 1. It takes an embedding of two views of each image more, by both encoders."""

    mix: int = 0
    """Images kept of all earlier chunks, with which those of every batch are mixed (LUMP); 0 mixes none, the authors keep
    256."""

    batchnorm: bool = True
    """Estimate BatchNorm's statistics anew at the end, on the images of the chunk and those kept. Without, they are of the last
    batches, attacked images among them where the inner objective attacks."""

    def __post_init__(self) -> None:
        numbers = (self.anchor, self.distil, self.mix)
        if not 0 <= self.replay <= 1 or not all(each >= 0 for each in numbers) or self.anchor_batch < 1:
            raise ValueError(
                "learning on needs a share of replayed images in [0, 1]; an anchor, a distillation and a number of images to"
                f" mix of at least 0; and batches of at least 1 image; not {self.replay}, {self.anchor}, {self.distil},"
                f" {self.mix} and {self.anchor_batch}"
            )
        if self.mix and isinstance(self.inner, SelfDistilledConfig):
            raise ValueError(
                "self-distillation remembers a target for each image, and a mixture is of two: choose another inner objective,"
                " or mix 0"
            )
        if isinstance(self.inner, SsatConfig) and self.inner.arm != "label_free":
            raise ValueError(
                f"images that come in have no labels, and SSAT's arm {self.inner.arm!r} reads them: use label_free"
            )

    def build(self, encoder: ImageEncoder, classes: int) -> "Sequential":
        """A fresh objective for `encoder`."""
        return Sequential(self, encoder, classes)


class Sequential(Objective):
    """The inner objective's terms, and the pull towards the weights that mattered before."""

    def __init__(self, config: SequentialConfig, encoder: ImageEncoder, classes: int) -> None:
        super().__init__()
        self.config = config
        self.inner: Objective = config.inner.build(encoder, classes)
        self.anchor = WeightAnchor(encoder) if config.anchor else None
        self.distillation = Distillation(encoder) if config.distil else None
        self.reservoir = Reservoir(config.mix, encoder.image_size) if config.mix else None
        own = (*["anchor"] * (self.anchor is not None), *["distil"] * (self.distillation is not None))
        self.names = (*self.inner.names, *own)
        self.replay = config.replay

    @property
    def min_images(self) -> int:
        """As the inner objective."""
        return self.inner.min_images

    def players(self) -> tuple[Player, ...]:
        """As the inner objective."""
        return self.inner.players()

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As any module; without `strict` also of an objective that was not wrapped, and as far as shapes are the same."""
        if not strict:
            wrapped = any(name.startswith(INNER) for name in state_dict)
            own = self.state_dict()
            named = {name if wrapped else INNER + name: value for name, value in state_dict.items()}
            state_dict = {name: value for name, value in named.items() if name in own and value.shape == own[name].shape}
        return super().load_state_dict(state_dict, strict, assign)

    def begin(self, encoder: ImageEncoder, train_set: TrainingSet, before: Tensor) -> None:
        """Hold the encoder where it is, by what matters to the images that it has last learned from."""
        if isinstance(self.inner, TeacherObjective):
            self.inner.retake()
        if self.anchor is not None:
            omega = importance(encoder, train_set.select(before), self.config.anchor_batch)
            self.anchor.hold(encoder, of_mean_one(omega))
        if self.distillation is not None:
            self.distillation.hold(encoder)
        if self.reservoir is not None:
            self.reservoir.offer(train_set.select(before))

    def prepare(self, encoder: ImageEncoder, train_set: TrainingSet, step: int) -> None:
        """As the inner objective."""
        self.inner.prepare(encoder, train_set, step)

    def terms(self, encoder: ImageEncoder, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """What the inner objective makes of the batch, as it is or mixed, and what holds on to what was."""
        learned = batch if self.reservoir is None else self.reservoir.mixed(batch, generator)
        terms = self.inner.terms(encoder, learned, generator)
        if self.anchor is not None:
            terms["anchor"] = self.config.anchor * self.anchor.pull(encoder)
        if self.distillation is not None and self.distillation.holds():
            augment: AugmentConfig = getattr(self.config.inner, "augment", STRONG)
            pixels = batch.pixels()
            views = view(shared_flip(torch.cat([pixels, pixels]), augment, generator), augment, generator)
            terms["distil"] = self.config.distil * self.distillation.loss(encoder, views)
        return terms

    def finish(self, encoder: ImageEncoder, learned: TrainingSet, seed: int) -> None:
        """Let BatchNorm know all the images that the stage has learned from."""
        if self.config.batchnorm:
            estimate_batchnorm(encoder, learned, seed)
