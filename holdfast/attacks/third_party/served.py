"""The classifier as served, to those who only see answers."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.attacks.attack import AttackBatch
from holdfast.attacks.quantise import to_images, to_images_within
from holdfast.attacks.third_party.library import load
from holdfast.attacks.victim import ABSTAINED, AnswerFunction, is_fooled
from holdfast.errors import HoldfastError


def served_as_art_classifier(answer: AnswerFunction, *, classes: int, size: tuple[int, int], abstains: bool = False) -> Any:
    """The served labels as an ART `BlackBoxClassifier`, for any of its decision-based attacks and metrics.

    It takes float [N, 3, H, W] in [0, 1], which are rounded to grey levels as every image on its way to a server is, and
    predicts one-hot float32 [N, classes].

    Args:
        answer: as served, for instance `holdfast.attacks.victim.served` over a bundle.
        classes: how many there are.
        size: height and width of an image.
        abstains: add a last class, "no answer". To an untargeted attack of ART it counts as a wrong one, which is more
            than the attacker has achieved: see `ABSTAINED`.

    Raises:
        HoldfastError: ART is not installed. When asked: an abstention came where none was to be expected.

    """

    def predict(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        answers = answer(to_images(torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32))))
        if abstains:
            answers = np.where(answers == ABSTAINED, classes, answers)
        elif (answers == ABSTAINED).any():
            raise HoldfastError("the classifier gave no answer to some images; say abstains=True to have a class for that")
        return np.eye(columns, dtype=np.float32)[answers]

    columns = classes + abstains
    black_box = load("art.estimators.classification.blackbox").BlackBoxClassifier
    return black_box(predict, (3, *size), columns, clip_values=(0.0, 1.0))


def fools(batch: AttackBatch, candidates: Tensor) -> Tensor:
    """Whether candidates, rounded within the ball, are served a wrong answer. Shape: float [n, 3, H, W] -> bool [n]."""
    answers = batch.victim.answer(to_images_within(candidates, to_images(batch.pixels), batch.threat))
    return torch.from_numpy(is_fooled(answers, batch.labels.cpu().numpy())).to(batch.pixels.device)
