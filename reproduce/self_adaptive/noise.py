"""What wrong labels did to a training, and who finds them."""

from typing import Any

import numpy as np

from holdfast.bundle.beliefs import Beliefs
from holdfast.bundle.exemplars import Flag
from holdfast.data import Splits
from holdfast.errors import HoldfastError
from holdfast.index_build.audit import disagreement_flags
from holdfast.intervals.paired import Bits
from holdfast.model.answers import Floats, Ints
from holdfast.model.retrieval.base import Bank
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.vote import VoteParameters
from holdfast.trainer.state.checkpoint import snapshot_file
from reproduce.arms import Arm
from reproduce.embeddings import neighbours_answers
from reproduce.kept_results import Figures, written
from reproduce.networks import TrainedNetwork, network_of
from reproduce.self_adaptive.scales import LOOKS, AdaptiveScale
from reproduce.self_adaptive.trainings import STAGE

BEFORE = LOOKS * 2 // 3
"""The look at two thirds of the training."""


def noisy_figures(arm: Arm, splits: Splits, scale: AdaptiveScale) -> Figures:
    """All that is measured of a training on noisy labels.

    "head" and "knn" are which test images the classifier and votes of k neighbours on the given labels answer rightly, "before"
    the classifier at two thirds of the run, "curve" its accuracy at each look. Of the training images: "given" and "believed",
    whether these labels are the true ones, and "disagrees" and "doubted", whom either audit flags.
    """
    classes, test = len(splits.class_names), splits.test
    every = scale.steps // LOOKS
    curve, before = [], None
    for look in range(1, LOOKS + 1):
        network = network_of(arm.config, classes, snapshot_file(STAGE, look * every))
        _, logits = network.look(test.images)
        right = network.answers(logits) == test.labels
        curve.append([look * every, float(right.mean())])
        before = right if look == BEFORE else before
    network = network_of(arm.config, classes)
    bank, _ = network.look(splits.train.images)
    queries, logits = network.look(test.images)
    figures: Figures = {
        "curve": curve,
        "before": written(before if before is not None else np.zeros(0, bool)),
        "head": written(network.answers(logits) == test.labels),
        "knn": votes(bank, splits.train.labels, queries, splits, scale),
        "given": written(splits.train.labels == true_labels(splits)),
        "disagrees": written(disagreeing(bank, splits.train.labels, classes, scale.k)),
    }
    beliefs = Beliefs.load(arm.config.out)
    return figures if beliefs is None else figures | _believed(beliefs, bank, queries, splits, scale)


def _believed(beliefs: Beliefs, bank: Floats, queries: Floats, splits: Splits, scale: AdaptiveScale) -> Figures:
    if beliefs.data_sha256 != splits.sha256:
        raise HoldfastError("the targets of a run are of another set; remove its directory, and it is trained again")
    believed = beliefs.believed()
    return {
        "believed": written(believed == true_labels(splits)),
        "doubted": written(beliefs.doubted(splits.train.labels)),
        "knn_adapted": votes(bank, believed, queries, splits, scale),
    }


def untouched_figures(network: TrainedNetwork, splits: Splits, scale: AdaptiveScale) -> Figures:
    """Votes on noisy labels by an encoder that was trained on true ones: what noise does to the exemplars alone."""
    bank, _ = network.look(splits.train.images)
    queries, _ = network.look(splits.test.images)
    return {
        "knn": votes(bank, splits.train.labels, queries, splits, scale),
        "disagrees": written(disagreeing(bank, splits.train.labels, len(splits.class_names), scale.k)),
    }


def true_labels(splits: Splits) -> Ints:
    """Of the training part, before noise: int64 [M]."""
    return splits.train.labels if splits.noise is None else splits.noise.true_labels


def votes(bank: Floats, labels: Ints, queries: Floats, splits: Splits, scale: AdaptiveScale) -> dict[str, Any]:
    """Which test images are answered rightly, by the number of neighbours that vote, each counting once."""
    classes, truth = len(splits.class_names), splits.test.labels
    return {str(k): written(neighbours_answers(bank, labels, queries, classes, VoteParameters(k=k)) == truth) for k in scale.ks}


def disagreeing(bank: Floats, labels: Ints, classes: int, k: int) -> Bits:
    """Whom the index builder's audit flags: the plurality of the k nearest has another label. bool [M]."""
    exemplars = Bank(bank, np.arange(len(labels)), labels)
    flags = disagreement_flags(FlatIndex.build(exemplars), exemplars, classes=classes, k=k, advance=lambda _: None)
    found: Bits = (flags & Flag.DISAGREES) > 0
    return found
