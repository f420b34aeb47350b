"""Robust distillation onto clusters: what DeACL asks of the whole embedding, asked only of its neighbourhoods.

A self-supervised teacher T embeds the training set, and spherical k-means finds K prototypes c_j of unit length. For an
image x the teacher gives how near it is to each,

    q_j(x) = softmax_j <T(x), c_j> / t

and the student S, which begins as a copy of the teacher, learns to give the same for x and for its adversarial example:

    p_j(x) = softmax_j <S(x), c_j> / s
    x'  <- argmax over the ball of  H(q(x), p(x'))
    loss = H(q(x), p(x)) + w H(q(x), p(x')),       H(q, p) = -sum_j q_j log p_j

A kNN answers by neighbourhoods: where in its neighbourhood an image lies does not matter to the vote, and need not be
defended. No label is read. A teacher decoupled from its robust student is DeACL's (Zhang et al. 2022, arXiv 2207.10899),
prototypes as targets are SwAV's (Caron et al. 2020, arXiv 2006.09882); their combination, and its constants, are ours.
"""

from dataclasses import dataclass, field

import faiss
import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.trainer.augment import WEAK, AugmentConfig, shared_flip, view
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.attack import AttackConfig
from holdfast.trainer.objectives.base import ImageBatch, TrainingSet
from holdfast.trainer.objectives.distillation.teacher import TeacherObjective
from holdfast.tyro_flags import Epsilon

ROUNDS = 25


@dataclass(frozen=True)
class ClustersConfig(AttackConfig):
    """Distil a self-supervised teacher's neighbourhoods into a robust student."""

    prototypes: int = 256
    """Clusters that the teacher's embeddings of the training set are split into."""

    teacher_temperature: float = 0.05
    """Temperature of the teacher's nearness to them; a small one leaves the nearest alone."""

    student_temperature: float = 0.1
    """Temperature of the student's."""

    steps: int = 3
    """Gradient steps of the attack."""

    step_size: Epsilon = 4 / 255
    """Length of each step, in pixels of [0, 1]."""

    robust_weight: float = 2.0
    """Weight of the attacked image, against the 1 of the clean one."""

    augment: AugmentConfig = field(default_factory=lambda: WEAK)
    """How the one view of each image is drawn. Flips and shifts alone: colours tell classes apart."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prototypes < 2 or not min(self.teacher_temperature, self.student_temperature) > 0:
            raise ValueError("clusters need at least 2 prototypes and temperatures above 0")

    def build(self, encoder: ImageEncoder, classes: int) -> "Clusters":  # noqa: ARG002 - reads no labels
        """A fresh objective for `encoder`."""
        return Clusters(self, encoder)


class Clusters(TeacherObjective):
    """Be as near to each prototype as the teacher is, attacked or not."""

    names = ("clean", "robust")
    prototypes: Tensor

    def __init__(self, config: ClustersConfig, encoder: ImageEncoder) -> None:
        super().__init__(encoder)
        self.config = config
        self.register_buffer("prototypes", torch.zeros(config.prototypes, encoder.dim))

    @property
    def min_images(self) -> int:
        """One image for each prototype."""
        return self.config.prototypes

    def fit(self, train_set: TrainingSet) -> None:
        """Cluster the teacher's embeddings of the training set."""
        self.prototypes.copy_(prototypes_of(self.all_targets(train_set), self.config.prototypes))

    def terms(self, encoder: ImageEncoder, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw a view of each image, attack it, and train both toward what the teacher gives for the clean one."""
        config = self.config
        clean = view(shared_flip(batch.pixels(), config.augment, generator), config.augment, generator)
        goal = F.softmax(self._nearness(self.targets(clean), config.teacher_temperature), dim=1)

        def cross_entropy(embeddings: Tensor) -> Tensor:
            return -(goal * F.log_softmax(self._nearness(embeddings, config.student_temperature), dim=1)).sum(1)

        attacked = config.adversary(lambda pixels: cross_entropy(encoder(pixels)), clean, generator, encoder)
        # Clean and attacked images as one batch, so BatchNorm cannot tell them apart.
        own, moved = encoder(torch.cat([clean, attacked])).chunk(2)
        return {"clean": cross_entropy(own).mean(), "robust": config.robust_weight * cross_entropy(moved).mean()}

    def _nearness(self, embeddings: Tensor, temperature: float) -> Tensor:
        # In float32 also within mixed precision: over a small temperature, bfloat16's third digit would decide.
        with torch.autocast(embeddings.device.type, enabled=False):
            return F.normalize(embeddings.float(), dim=1) @ self.prototypes.T / temperature


def prototypes_of(embeddings: Tensor, number: int) -> Tensor:
    """Centres of unit length of spherical k-means, the same for the same embeddings.

    Args:
        embeddings: float32 [M, D] of unit length.
        number: K of them.

    Returns:
        float32 [K, D], where `embeddings` lie.

    Raises:
        ValueError: fewer embeddings than prototypes.

    """
    if len(embeddings) < number:
        raise ValueError(f"{len(embeddings)} training images cannot be split into {number} clusters; ask for fewer prototypes")
    # One point for each centre is enough for faiss, which would otherwise warn below 39 and subsample above 256.
    means = faiss.Kmeans(
        embeddings.shape[1],
        number,
        niter=ROUNDS,
        seed=0,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=len(embeddings),
    )
    means.train(embeddings.cpu().numpy())
    return F.normalize(torch.from_numpy(means.centroids).to(embeddings.device), dim=1)
