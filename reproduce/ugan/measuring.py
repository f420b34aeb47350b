"""What one training is worth: its classifier, the served vote without and with guessed labels, and what is far from the set."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from holdfast.attacks.victim import SERVED_BATCH
from holdfast.bundle.exemplars import Flag
from holdfast.bundle.reader import Bundle
from holdfast.data import Splits
from holdfast.index_build import build_index
from holdfast.model.answers import Floats, Ints
from holdfast.model.preprocess import Pixels
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.export.bundle import write_bundle
from holdfast.trainer.objectives.ugan.objective import Ugan
from holdfast.trainer.state import checkpoint
from holdfast.trainer.train import Trained
from reproduce.kept_results import Figures, written

PSEUDO = 0.95
"""Probability above which a guessed label makes an exemplar."""
SIGNIFICANT = 0.05
"""A p-value of the k-th distance at or below it calls an image out of distribution."""


@dataclass(frozen=True)
class TrainedPlayers:
    """What a training leaves: the classifier and its rivals, in evaluation mode."""

    encoder: ImageEncoder
    objective: Ugan

    @classmethod
    def of(cls, config: TrainConfig, classes: int) -> "TrainedPlayers":
        """Of the finished run in `config.out`."""
        encoder = config.encoder.build()
        objective = config.stages[-1].objective.build(encoder, classes)
        if not isinstance(objective, Ugan):
            raise TypeError(f"{config.out} was not trained by ugan")
        checkpoint.load(config.out).restore(encoder, objective)
        return cls(encoder.eval(), objective.eval())

    @torch.inference_mode()
    def logits(self, images: Pixels) -> Floats:
        """Of the classifier: uint8 [N, H, W, 3] -> float32 [N, K]."""
        parts = []
        for start in range(0, len(images), SERVED_BATCH):
            pixels = torch.from_numpy(images[start : start + SERVED_BATCH]).permute(0, 3, 1, 2).float() / 255
            parts.append(self.objective.mean_classifier(self.encoder(pixels)).numpy())
        return np.concatenate(parts)

    @torch.inference_mode()
    def made(self, count: int, *, good: bool) -> Pixels:
        """Images of a generator, uint8 [n, H, W, 3]; the good one's classes take turns. None where the arm has none."""
        maker = self.objective.good if good else self.objective.bad
        if maker is None:
            return np.zeros((0, self.encoder.image_size, self.encoder.image_size, 3), np.uint8)
        y = torch.eye(self.objective.classes)[torch.arange(count) % self.objective.classes][:, : maker.classes]
        pixels = maker(maker.draw(count, torch.Generator().manual_seed(0)), y)
        images: Pixels = (pixels * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
        return images


def figures_of(config: TrainConfig, splits: Splits, truth: dict[str, int], made: int, seconds: float) -> Figures:
    """Everything that is measured of a finished training.

    Args:
        config: of it; its directory gets a bundle.
        splits: what it was trained on.
        truth: the true label of each training image, by its source.
        made: images that the bad generator is asked for.
        seconds: of the training.

    """
    players, test = TrainedPlayers.of(config, len(splits.class_names)), splits.test
    steps = sum(stage.steps for stage in config.stages)
    write_bundle(config, splits, Trained(players.encoder, steps, seconds), f"reproduce.ugan, {config.out.name}")
    logits = players.logits(test.images)
    build_index(config.out, splits, canary=0, quiet=True)
    alone = ServedAnswers.of(config.out, test.images)
    found: Figures = {
        "seconds": seconds,
        "head": written(logits.argmax(1) == test.labels),
        "knn": written(alone.labels == test.labels),
        "abstained": written(alone.abstain),
    }
    strange = players.made(made, good=False)
    if len(strange):
        found["bad"] = _told_apart(alone, ServedAnswers.of(config.out, strange), logits, players.logits(strange))
    build_index(config.out, splits, canary=0, pseudo=PSEUDO, quiet=True)
    found["knn_pseudo"] = written(ServedAnswers.of(config.out, test.images).labels == test.labels)
    return found | _guessed(config.out, truth)


@dataclass(frozen=True)
class ServedAnswers:
    """What a bundle answers to N images, as far as it is looked at here; see `Answers`."""

    labels: Ints
    abstain: NDArray[np.bool_]
    kth_distance: Floats
    kth_distance_p_value: NDArray[np.float64]

    @classmethod
    def of(cls, directory: Path, images: Pixels) -> "ServedAnswers":
        """The answers of the bundle in a directory."""
        classifier = Bundle.open(directory).classifier()
        parts = [classifier.classify(images[i : i + SERVED_BATCH]) for i in range(0, len(images), SERVED_BATCH)]
        names = ("labels", "abstain", "kth_distance", "kth_distance_p_value")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _guessed(directory: Path, truth: dict[str, int]) -> Figures:
    """How many labels were guessed, and how many of them rightly."""
    table = Bundle.open(directory).exemplars
    rows = np.flatnonzero(table.flags & Flag.PSEUDO > 0).tolist()
    right = sum(truth[table.sources[row]] == table.labels[row] for row in rows)
    return {"guessed": len(rows), "guessed_right": int(right)}


def _told_apart(test: ServedAnswers, strange: ServedAnswers, logits: Floats, strange_logits: Floats) -> Figures:
    """Whether generated images are told from test images, by the distance to the k-th neighbour and by LSE."""

    def area(ordinary: NDArray[np.floating], others: NDArray[np.floating]) -> float:
        which = np.concatenate([np.zeros(len(ordinary)), np.ones(len(others))])
        return float(roc_auc_score(which, np.concatenate([ordinary, others])))

    scores, others = (-np.logaddexp.reduce(each.astype(np.float64), axis=1) for each in (logits, strange_logits))
    significant = strange.kth_distance_p_value <= SIGNIFICANT
    return {
        "abstained": written(strange.abstain),
        "far": written(significant),
        "far_test": written(test.kth_distance_p_value <= SIGNIFICANT),
        "distance_area": area(test.kth_distance, strange.kth_distance),
        "lse_area": area(scores, others),
    }
