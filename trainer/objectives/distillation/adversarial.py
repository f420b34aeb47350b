"""Adversarial distillation: a small encoder answers, clean and attacked, as larger ones do on clean images.

    x'  <- argmax over the ball of  KL(T(x) || S(x'))
    loss = a KL(N(x) || S(x)) + b KL(T(x) || S(x'))

T is a robust teacher and N a natural one, or T again where there is none; both are runs that ended with a classifier. S is a
cosine classifier on the student, as in TRADES. No label is read: what the teachers say of an image takes its place. Where there
is a natural teacher alone, T is the student itself: that is TRADES, with the teacher's answers in the place of labels.

With N = T it is RSLAD (Zi et al. 2021, arXiv 2108.07969); that a natural teacher's answers serve the clean term is MTARD's idea
(Zhao et al., ECCV 2022), whose balancing of the two terms is left out.
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.attacks.pgd import frozen
from holdfast.trainer.augment import WEAK, AugmentConfig, shared_flip, view
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.attack import AttackConfig
from holdfast.trainer.objectives.base import ImageBatch, Objective
from holdfast.trainer.objectives.distillation.classifier import load_classifier
from holdfast.trainer.objectives.head import LearnedHead


@dataclass(frozen=True)
class AdversarialDistillationConfig(AttackConfig):
    """Answer as trained classifiers do, clean and attacked. Teachers are kept in checkpoints."""

    teacher: Path | None = None
    """Directory of the robust teacher's run, whose last stage has a classifier; by default what the student itself says of the
    clean image is what its attacked one is to get, as in TRADES."""

    natural_teacher: Path | None = None
    """Directory of the run whose answers clean images are to get; by default the robust teacher's."""

    clean_weight: float = 1.0
    """Weight a of the clean images."""

    robust_weight: float = 5.0
    """Weight b of the attacked ones."""

    temperature: float = 0.1
    """Temperature of the student's similarities to its prototypes."""

    augment: AugmentConfig = field(default_factory=lambda: WEAK)
    """How the one view of each image is drawn."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.teacher is None and self.natural_teacher is None:
            raise ValueError("distillation needs a teacher: name the run of a robust one, of a natural one, or of both")
        if not self.temperature > 0 or not (self.clean_weight >= 0 and self.robust_weight >= 0):
            raise ValueError(
                f"distillation needs a temperature above 0 and weights of at least 0, not {self.temperature},"
                f" {self.clean_weight} and {self.robust_weight}"
            )

    def build(self, encoder: ImageEncoder, classes: int) -> "AdversarialDistillation":
        """A fresh objective for `encoder`.

        Raises:
            TeacherError: see `load_classifier`.

        """
        return AdversarialDistillation(self, encoder, classes)


class AdversarialDistillation(Objective):
    """Answer as the teachers do: clean images as the natural one, attacked ones as the robust one answers them clean."""

    names = ("clean", "robust")

    def __init__(self, config: AdversarialDistillationConfig, encoder: ImageEncoder, classes: int) -> None:
        super().__init__()
        self.config = config
        self.teacher = load_classifier(config.teacher, classes) if config.teacher else None
        self.natural_teacher = load_classifier(config.natural_teacher, classes) if config.natural_teacher else None
        self.prototypes = nn.Parameter(F.normalize(torch.randn(classes, encoder.dim), dim=1))

    def terms(self, encoder: ImageEncoder, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw a view of each image, ask the teachers, attack the student, compare."""
        config = self.config
        clean = view(shared_flip(batch.pixels(), config.augment, generator), config.augment, generator)
        robust_goal = self._own_answer(encoder, clean) if self.teacher is None else self.teacher(clean)
        clean_goal = robust_goal if self.natural_teacher is None else self.natural_teacher(clean)
        attacked = config.adversary(
            lambda pixels: -(robust_goal * self._log_probabilities(encoder(pixels))).sum(1), clean, generator, encoder, self
        )
        # Clean and attacked images as one batch, so BatchNorm cannot tell them apart.
        own, moved = self._log_probabilities(encoder(torch.cat([clean, attacked]))).chunk(2)
        # Without a robust teacher the clean answer is moved as well, as in TRADES.
        answer = own if self.teacher is None else robust_goal.log()
        divergence = F.kl_div(moved, answer, reduction="batchmean", log_target=True)
        return {
            "clean": config.clean_weight * F.kl_div(own, clean_goal, reduction="batchmean"),
            "robust": config.robust_weight * divergence,
        }

    def _own_answer(self, encoder: ImageEncoder, clean: Tensor) -> Tensor:
        with frozen(encoder), torch.no_grad():
            return self._log_probabilities(encoder(clean)).exp()

    def classifier_head(self) -> LearnedHead:
        """The cosine classifier."""
        return LearnedHead.of_prototypes(self.prototypes, self.config.temperature)

    def _log_probabilities(self, embeddings: Tensor) -> Tensor:
        with torch.autocast(embeddings.device.type, enabled=False):  # see Trades
            similarities = F.normalize(embeddings.float(), dim=1) @ F.normalize(self.prototypes, dim=1).T
            return F.log_softmax(similarities / self.config.temperature, dim=1)
