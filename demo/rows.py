"""Which of the attacked images the picture shows, and what each row says."""

import numpy as np
from numpy.typing import NDArray

from demo.picture import PictureAnswer, PictureNeighbour, PictureRow
from demo.serving import Traffic
from holdfast.client import Answer
from holdfast.data import LabelledImages
from holdfast.evaluation import Evaluation
from holdfast.model.preprocess import Pixels

ROWS = 6


def choose(evaluation: Evaluation, count: int = ROWS) -> list[int]:
    """Test images to show: fooled and unfooled ones in their true proportion, of as many classes as there are.

    Nothing is picked by eye: of each kind they are the first of each class. At least one is fooled, if any is.
    """
    outcome, truth = evaluation.outcome, evaluation.labels
    fooled = np.flatnonzero(outcome.success)
    held = np.flatnonzero((outcome.clean_labels == truth) & ~outcome.success)
    shown_fooled = min(len(fooled), max(1, round(count * len(fooled) / max(1, len(fooled) + len(held)))))
    first_held = _first_of_each_class(held, truth)[: count - shown_fooled]
    seen = {int(truth[row]) for row in first_held}
    others = [row for row in _first_of_each_class(fooled, truth) if int(truth[row]) not in seen]
    return [*first_held, *(others or _first_of_each_class(fooled, truth))[:shown_fooled]]


def picture_rows(chosen: list[int], evaluation: Evaluation, traffic: Traffic, exemplars: LabelledImages) -> list[PictureRow]:
    """The rows of the picture, from the answers that came back over gRPC.

    Args:
        chosen: rows of the evaluation.
        evaluation: the images, clean and attacked.
        traffic: the answers to them.
        exemplars: what was indexed, in the order of its ids.

    """

    def as_picture(image: Pixels, answer: Answer) -> PictureAnswer:
        neighbours = [PictureNeighbour(exemplars.images[n.id], n.label, n.similarity) for n in answer.neighbours]
        return PictureAnswer(image, answer.label, answer.credibility, answer.abstain, neighbours)

    return [
        PictureRow(
            exemplars.class_names[evaluation.labels[row]],
            as_picture(evaluation.images[row], traffic.clean[row]),
            as_picture(evaluation.outcome.adversarial[row], traffic.attacked[row]),
        )
        for row in chosen
    ]


def _first_of_each_class(rows: NDArray[np.int64], truth: NDArray[np.int64]) -> list[int]:
    """The first row of each class, then the rest, all in order."""
    _, first = np.unique(truth[rows], return_index=True)
    leading = rows[np.sort(first)]
    return [*leading.tolist(), *np.setdiff1d(rows, leading).tolist()]
