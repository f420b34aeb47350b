"""TRADES on labels that are given and labels that are guessed: the robust stage after one that learned from few labels.

Images without a label get the class that the classifier of the stage before gives them, once, where it is sure. The others have
no clean term, but are attacked as well: answering alike under attack asks for no label. Unlabelled images as a remedy for few
robust ones are UAT's (Uesato et al. 2019, arXiv 1905.13725) and RST's (Carmon et al. 2019, arXiv 1905.13736).
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from holdfast.attacks.pgd import frozen
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.base import ImageBatch, Objective, TrainingSet
from holdfast.trainer.objectives.head import LearnedHead
from holdfast.trainer.objectives.memory import ImageMemory
from holdfast.trainer.objectives.trades import TradesConfig

CHUNK = 512


@dataclass(frozen=True)
class PseudoLabelledConfig:
    """TRADES, where images without a label get one from the stage before, which is to be UGAN."""

    objective: TradesConfig = field(default_factory=TradesConfig)
    """What is learned from all images."""

    threshold: float = 0.95
    """Probability from which a class is taken as the label."""

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise ValueError(f"the probability from which a class is taken as the label is in [0, 1), not {self.threshold}")

    def build(self, encoder: ImageEncoder, classes: int) -> "PseudoLabelled":
        """A fresh objective for `encoder`."""
        return PseudoLabelled(self, encoder, classes)


class PseudoLabelled(Objective):
    """The inner objective's terms, on labels that are partly guessed."""

    labels = "some"

    def __init__(self, config: PseudoLabelledConfig, encoder: ImageEncoder, classes: int) -> None:
        super().__init__()
        self.config = config
        self.inner = config.objective.build(encoder, classes)
        self.names = self.inner.names
        # Under the name that it has in the stage before, from where its weights come.
        self.mean_classifier = nn.Linear(encoder.dim, classes).requires_grad_(requires_grad=False)
        self.guessed = ImageMemory(dtype=torch.int16)
        """1 more than the class; 0 where none is taken."""

    def begin(self, encoder: ImageEncoder, train_set: TrainingSet, before: Tensor) -> None:  # noqa: ARG002 - the protocol's
        """Guess the labels that are not known, by the encoder and the classifier of the stage before."""
        with frozen(encoder, self), torch.no_grad():
            for chunk in train_set.chunks(CHUNK):
                sure, likeliest = self.mean_classifier(encoder(chunk.pixels()).float()).softmax(1).max(1)
                self.guessed.write(chunk.rows, torch.where(sure > self.config.threshold, likeliest + 1, 0))

    def prepare(self, encoder: ImageEncoder, train_set: TrainingSet, step: int) -> None:
        """As the inner objective."""
        self.inner.prepare(encoder, train_set, step)

    def terms(self, encoder: ImageEncoder, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """The inner objective's, of the batch with the labels that there are now."""
        guessed = self.guessed.at(batch.rows).long() - 1
        labels = torch.where(batch.labels >= 0, batch.labels, guessed)
        return self.inner.terms(encoder, ImageBatch(batch.images, labels, batch.rows), generator)

    def classifier_head(self) -> LearnedHead | None:
        """As the inner objective."""
        return self.inner.classifier_head()
