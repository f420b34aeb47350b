"""Answers and attacks as the bench shows them."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.answers import Answers
from holdfast.model.images.pictures import as_png, difference
from holdfast.model.preprocess import Pixels
from holdfast.server.api.page.neighbours import ShownExemplar, nearest_of
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.monitor.page.attack import AttackStep
from holdfast.server.monitor.page.watching import WatchedStep

NEIGHBOURS, CLASSES = 10, 5
"""Exemplars and classes that are shown of an answer."""


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """An answer as the bench shows it.

    Attributes:
        picture: a data: address of the image as the encoder sees it.
        label: class name.
        classes: the likeliest, with their shares of the vote.
        credibility, soft_margin, softmax_response, kth_distance, kth_distance_p_value: as in Answers; NaN where there is none.
        poison_tolerance, feature_shift: certificates, as in Answers; None where they cannot be told.
        abstain: whether it is not to be relied on.
        neighbours: the nearest exemplars.

    """

    picture: str
    label: str
    classes: Sequence[tuple[str, float]]
    credibility: float
    soft_margin: float
    softmax_response: float
    kth_distance: float
    kth_distance_p_value: float
    poison_tolerance: int | None
    feature_shift: float | None
    abstain: bool
    neighbours: Sequence[ShownExemplar]


@dataclass(frozen=True, slots=True)
class ShownAttack:
    """An attack's outcome: the answers before and after, what was changed, and how it went.

    Attributes:
        change: a data: address of the difference, stretched.
        largest: of the changes of a channel, in grey levels.
        length: Euclidean length of the change, pixels in [0, 1].
        noticed: of each detector of traffic the candidate at which it would have noticed; None: at none.
        complete: whether every step was made.

    """

    threat: ThreatModel
    clean: ShownAnswer
    attacked: ShownAnswer
    change: str
    largest: int
    length: float
    step: AttackStep
    noticed: Mapping[str, int | None]
    complete: bool

    @property
    def flipped(self) -> bool:
        """Whether the answer is another one."""
        return self.step.flipped_at is not None

    @property
    def came_in(self) -> set[int]:
        """Exemplars that are neighbours only after the attack."""
        return {each.id for each in self.attacked.neighbours} - {each.id for each in self.clean.neighbours}


def certified_answer(image: Pixels, snapshot: ModelSnapshot) -> Answers:
    """What the model answers to uint8 [H, W, 3], certificates included: of one row; for a thread."""
    retrieval = snapshot.retrieve(image[np.newaxis])
    return snapshot.decide(retrieval, np.zeros(1, np.intp)).answers


def shown_answer(image: Pixels, answers: Answers, snapshot: ModelSnapshot, *, sources: bool) -> ShownAnswer:
    """The answer of one row to uint8 [H, W, 3]; for a thread."""
    names = snapshot.description.class_names
    shares = answers.probabilities[0]
    likeliest = np.argsort(-shares, kind="stable")[:CLASSES].tolist()
    return ShownAnswer(
        picture=data_address(image),
        label=names[int(answers.labels[0])],
        classes=[(names[place], float(shares[place])) for place in likeliest if shares[place] > 0],
        credibility=float(answers.credibility[0]),
        soft_margin=float(answers.soft_margin[0]),
        softmax_response=float(answers.softmax_response[0]),
        kth_distance=float(answers.kth_distance[0]),
        kth_distance_p_value=float(answers.kth_distance_p_value[0]),
        poison_tolerance=int(tolerance) if (tolerance := answers.poison_tolerance[0]) >= 0 else None,
        feature_shift=None if np.isnan(shift := answers.feature_shift[0]) else float(shift),
        abstain=bool(answers.abstain[0]),
        neighbours=nearest_of(answers, snapshot, NEIGHBOURS, sources=sources),
    )


def shown_attack(
    threat: ThreatModel, clean: tuple[Pixels, ShownAnswer], attacked: ShownAnswer, last: WatchedStep
) -> ShownAttack:
    """What an attack came to, by its last step; for a thread. `clean` is the image uint8 [H, W, 3] and its answer."""
    image, answer = clean
    step = last.step
    moved = step.image.astype(np.float64) - image
    return ShownAttack(
        threat=threat,
        clean=answer,
        attacked=attacked,
        change=data_address(difference(image, step.image)),
        largest=int(np.abs(moved).max(initial=0)),
        length=float(np.linalg.norm(moved) / 255),
        step=step,
        noticed=last.noticed,
        complete=step.step == step.steps,
    )


def data_address(image: Pixels) -> str:
    """A picture of uint8 [H, W, 3] as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(as_png(image)).decode('ascii')}"
