"""Answers and attacks as the bench shows them."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.answers import Answers
from holdfast.model.images.pictures import as_png, difference
from holdfast.model.preprocess import Pixels
from holdfast.server.api.page.neighbours import ShownExemplar, nearest_of
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.monitor.page.attack import AttackStep

NEIGHBOURS, CLASSES = 10, 5
"""Exemplars and classes that are shown of an answer."""


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """An answer as the bench shows it.

    Attributes:
        picture: a data: address of the image as the encoder sees it.
        label: class name.
        classes: the likeliest, with their shares of the vote.
        credibility, soft_margin, kth_distance: as in Answers; NaN where there is none.
        abstain: whether it is not to be relied on.
        neighbours: the nearest exemplars.

    """

    picture: str
    label: str
    classes: Sequence[tuple[str, float]]
    credibility: float
    soft_margin: float
    kth_distance: float
    abstain: bool
    neighbours: Sequence[ShownExemplar]


@dataclass(frozen=True, slots=True)
class ShownAttack:
    """An attack's outcome: the answers before and after, what was changed, and how it went.

    Attributes:
        change: a data: address of the difference, stretched.
        largest: of the changes of a channel, in grey levels.
        length: Euclidean length of the change, pixels in [0, 1].
        complete: whether every step was made.

    """

    threat: ThreatModel
    clean: ShownAnswer
    attacked: ShownAnswer
    change: str
    largest: int
    length: float
    step: AttackStep
    complete: bool

    @property
    def flipped(self) -> bool:
        """Whether the answer is another one."""
        return self.step.flipped_at is not None

    @property
    def came_in(self) -> set[int]:
        """Exemplars that are neighbours only after the attack."""
        return {each.id for each in self.attacked.neighbours} - {each.id for each in self.clean.neighbours}


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
        kth_distance=float(answers.kth_distance[0]),
        abstain=bool(answers.abstain[0]),
        neighbours=nearest_of(answers, snapshot, NEIGHBOURS, sources=sources),
    )


def shown_attack(
    threat: ThreatModel, clean: tuple[Pixels, ShownAnswer], attacked: ShownAnswer, last: AttackStep
) -> ShownAttack:
    """What an attack came to, by its last step; for a thread. `clean` is the image uint8 [H, W, 3] and its answer."""
    image, answer = clean
    moved = last.image.astype(np.float64) - image
    return ShownAttack(
        threat=threat,
        clean=answer,
        attacked=attacked,
        change=data_address(difference(image, last.image)),
        largest=int(np.abs(moved).max(initial=0)),
        length=float(np.linalg.norm(moved) / 255),
        step=last,
        complete=last.step == last.steps,
    )


def data_address(image: Pixels) -> str:
    """A picture of uint8 [H, W, 3] as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(as_png(image)).decode('ascii')}"
