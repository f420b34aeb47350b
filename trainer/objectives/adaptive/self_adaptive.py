"""Self-adaptive training (Huang et al. 2020, arXiv 2002.10319): classify, and let the targets follow what was learned.

For labels of which some are wrong; see `targets.py` for the loss. With `reverse` it is the authors' `sat_sce`. With `abstain`
it is selective classification (the same paper, section 5): one logit more says "I do not know", and with t_y what is left of
the label, and q the softmax over C + 1,

    loss = -mean of  t_y log q_y + (1 - t_y) log q_abstain

The probabilities that targets follow are over the C classes alone. Feng et al. 2023 (arXiv 2206.09034) show that what this
gains is the better classifier: softmax response, the largest of the C probabilities, ranks answers better than the added logit.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.attacks.pgd import frozen
from holdfast.data.labelled import UNKNOWN
from holdfast.trainer.augment import WEAK, AugmentConfig, shared_flip, view
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.adaptive.targets import AdaptiveTargets, SelfAdaptation
from holdfast.trainer.objectives.base import ImageBatch, Objective, TrainingSet
from holdfast.trainer.objectives.head import LearnedHead


@dataclass(frozen=True)
class SelfAdaptiveConfig(SelfAdaptation):
    """Cross-entropy to targets that are the labels at first and then follow the model: for labels of which some are wrong."""

    reverse: float = 0.0
    """Weight of the reverse cross-entropy, of targets under the model; the authors' variant sat_sce has .3."""

    abstain: bool = False
    """Learn a logit more, for "I do not know"; a warm-up by plain cross-entropy of half of the steps is usual (`start`)."""

    augment: AugmentConfig = field(default_factory=lambda: WEAK)
    """How the one view of each image is drawn. Flips and shifts alone, as the authors."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.reverse >= 0 or (self.reverse and self.abstain):
            raise ValueError("the weight of the reverse cross-entropy is at least 0, and 0 with the abstain logit")

    def build(self, encoder: ImageEncoder, classes: int) -> "SelfAdaptive":
        """A fresh objective for `encoder`."""
        return SelfAdaptive(self, encoder, classes)


class SelfAdaptive(Objective):
    """Cross-entropy of a linear classifier on one view, to targets that adapt."""

    names = ("cross_entropy",)
    labels = "all"

    def __init__(self, config: SelfAdaptiveConfig, encoder: ImageEncoder, classes: int) -> None:
        super().__init__()
        self.config = config
        self.classifier = nn.Linear(encoder.dim, classes)
        # Apart from the classes, so that a classifier of an earlier stage fits.
        self.abstainer = nn.Linear(encoder.dim, 1) if config.abstain else None
        self.adaptive = AdaptiveTargets(config, classes)

    def watched(self) -> dict[str, Tensor]:
        """How many targets have left their labels."""
        return {"changed": self.adaptive.changed}

    def prepare(self, encoder: ImageEncoder, train_set: TrainingSet, step: int) -> None:  # noqa: ARG002 - the protocol's
        """Take the labels as targets, and see whether these adapt by now."""
        self.adaptive.prepare(train_set, step, self.stage_steps)

    def terms(self, encoder: ImageEncoder, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Classify one view of each image, move its target, compare."""
        config = self.config
        embeddings = encoder(view(shared_flip(batch.pixels(), config.augment, generator), config.augment, generator))
        log_probabilities = self.log_probabilities(embeddings)
        # Images without a label teach nothing until targets adapt; from then on the model's own belief is their target.
        known = batch.labels != UNKNOWN
        labelled, labels = known.sum().clamp(min=1), batch.labels.clamp(min=0)[:, None]
        if not self.adaptive.adapting:
            given = log_probabilities.gather(1, labels).squeeze(1)
            return {"cross_entropy": -(given * known).sum() / labelled}
        targets = self.adaptive.adapt(batch, log_probabilities.exp())
        if self.abstainer is None:
            return {"cross_entropy": self.adaptive.cross_entropy(targets, log_probabilities, config.reverse)}
        kept = targets.gather(1, labels).squeeze(1)
        selective = F.log_softmax(self.logits(embeddings), dim=1)
        given = selective.gather(1, labels).squeeze(1)
        return {"cross_entropy": -((kept * given + (1 - kept) * selective[:, -1]) * known).sum() / labelled}

    def logits(self, embeddings: Tensor) -> Tensor:
        """Float32 [N, C] of float [N, D] embeddings, with the abstain logit as the last of [N, C + 1] where there is one."""
        classes = self.classifier(embeddings)
        return (classes if self.abstainer is None else torch.cat([classes, self.abstainer(embeddings)], dim=1)).float()

    def log_probabilities(self, embeddings: Tensor) -> Tensor:
        """Of the C classes alone, as if there were no abstaining: float32 [N, C]."""
        return F.log_softmax(self.classifier(embeddings).float(), dim=1)

    def beliefs(self, encoder: ImageEncoder, train_set: TrainingSet) -> Tensor:
        """The targets, refreshed."""
        with frozen(encoder, self):
            return self.adaptive.refreshed(lambda pixels: self.log_probabilities(encoder(pixels)).exp(), train_set)

    def classifier_head(self) -> LearnedHead:
        """The linear classifier, with the abstain logit where there is one."""
        return LearnedHead.of(self.classifier, self.abstainer)
