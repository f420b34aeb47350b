"""What is attacked: a served classifier, with all that an attacker knows of it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.attacks.surrogate import TorchSoftKNN
from holdfast.model.classifier import Classifier
from holdfast.model.preprocess import Pixels

Embed = Callable[[Tensor], Tensor]
"""Pixels float [N, 3, H, W] in [0, 1] -> L2-normalised embeddings [N, D], differentiable."""

AnswerFunction = Callable[[Pixels], NDArray[np.int64]]
"""The answer as served: images uint8 [N, H, W, 3] -> labels [N], or `ABSTAINED` where a detector kept it back."""

ScoreFunction = Callable[[Pixels], NDArray[np.float32]]
"""What a client may read beside the label: images uint8 [N, H, W, 3] -> scores [N, C], the largest for the answer."""

SERVED_BATCH = 256
"""Images that are asked about at once."""

ABSTAINED = -1
"""No answer, and so no wrong one: an attack that only makes a detector go off has not fooled anybody."""


@dataclass(frozen=True, eq=False)
class Victim:
    """A served classifier with all that a white-box attacker knows of it.

    Attributes:
        embed: the encoder, weights known.
        surrogate: the whole bank with its labels, known; its temperature is the attack's to choose.
        answer: the pipeline as served, which alone decides what is a success.
        scores: for black-box attacks on scores; without them those see the surrogate, which is smoother.
        threads: batches that a suite attacks side by side, each in a CPU thread of its own. What is found is the same.

    """

    embed: Embed
    surrogate: TorchSoftKNN
    answer: AnswerFunction
    scores: ScoreFunction | None = None
    threads: int = 1

    @property
    def device(self) -> torch.device:
        """Where the bank lies, and so where attacks run."""
        return self.surrogate.bank.device


def served(classifier: Classifier) -> AnswerFunction:
    """The labels that a server over this bundle would answer."""

    def answer(images: Pixels) -> NDArray[np.int64]:
        parts = [images[i : i + SERVED_BATCH] for i in range(0, len(images), SERVED_BATCH)]
        return np.concatenate([classifier.classify(part).labels for part in parts] or [np.zeros(0, np.int64)])

    return answer


def is_fooled(answers: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where an answer is given and is wrong. Shape: int64 [N] served answers, int64 [N] true classes -> bool [N]."""
    fooled: NDArray[np.bool_] = (answers != labels) & (answers != ABSTAINED)
    return fooled
