"""What an encoder is worth to a kNN and to a linear classifier: which test images are answered rightly."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from holdfast.data import LabelledImages
from holdfast.intervals.paired import Bits
from holdfast.model.answers import Floats, Ints
from holdfast.model.retrieval.base import Bank, nearest
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.vote import VoteParameters, vote
from holdfast.trainer.encoders import ImageEncoder

AT_ONCE = 512
LINEAR_STEPS = 200


@torch.inference_mode()
def embed(encoder: ImageEncoder, images: NDArray[np.uint8]) -> Floats:
    """Embeddings of uint8 [N, H, W, 3] images: float32 [N, D] of unit length, by the encoder as it stands."""
    parts = []
    for start in range(0, len(images), AT_ONCE):
        pixels = torch.from_numpy(np.ascontiguousarray(images[start : start + AT_ONCE])).permute(0, 3, 1, 2).float() / 255
        parts.append(F.normalize(encoder(pixels), dim=1).numpy())
    return np.concatenate(parts)


def neighbours_answers(bank: Floats, labels: Ints, queries: Floats, classes: int, parameters: VoteParameters) -> Ints:
    """Labels int64 [N] that the exemplars float32 [M, D] with labels int64 [M] vote for; queries float32 [N, D]."""
    index = FlatIndex.build(Bank(bank, np.arange(len(labels)), labels))
    found = nearest(index, queries, parameters.k)
    answers: Ints = vote(found.similarities, found.labels, classes, parameters).labels
    return answers


def neighbours_right(encoder: ImageEncoder, train: LabelledImages, test: LabelledImages, parameters: VoteParameters) -> Bits:
    """Which test images the kNN over all training images answers rightly: bool [N]."""
    bank, queries = embed(encoder, train.images), embed(encoder, test.images)
    right: Bits = neighbours_answers(bank, train.labels, queries, len(train.class_names), parameters) == test.labels
    return right


def linear_right(bank: Floats, labels: Ints, queries: Floats, truth: Ints) -> Bits:
    """Which queries float32 [N, D] a logistic regression on exemplars float32 [M, D] answers as `truth` int64 [N]: bool [N].

    The usual linear probe: features standardised, the L2 penalty of scikit-learn's default, no test image looked at.
    """
    scaler = StandardScaler().fit(bank)
    probe = LogisticRegression(max_iter=LINEAR_STEPS, tol=1e-3).fit(scaler.transform(bank), labels)
    right: Bits = probe.predict(scaler.transform(queries)) == truth
    return right
