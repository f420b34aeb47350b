"""What goes into the store of exemplars, and what comes out of it. No message of a transport is in here."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Answers, Floats, Ints
from holdfast.model.preprocess import Pixels
from holdfast.server.core.snapshot import ModelSnapshot


class State(IntEnum):
    """Where an exemplar stands. Only one that is served votes."""

    SERVED = 0
    QUARANTINED = 1
    DELETED = 2


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a change, for the audit trail and for the limit of changes a second."""

    name: str


@dataclass(frozen=True, slots=True)
class NewExemplar:
    """A labelled image to be added.

    Attributes:
        pixels: uint8 [H, W, C], decoded to the input contract.
        label: its class name; a name that no class has makes a class.
        source: where it came from, for a person: a path, a camera.
        image: as it was sent, encoded; kept where the store keeps images, else None is as good.

    """

    pixels: Pixels
    label: str
    source: str = ""
    image: bytes | None = None


@dataclass(frozen=True, slots=True)
class ChangeReceipt:
    """What became of a change. It is durable, and every answer that begins after it has seen it.

    Attributes:
        sequence: of the change in the journal; a later change has a larger one.
        ids: of the exemplars that were changed, in the order of the request.
        states: what each is now.
        repeated: the same request was made before; this is its receipt, and nothing was changed again.

    """

    sequence: int
    ids: tuple[int, ...]
    states: tuple[State, ...]
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class ExemplarRecord:
    """One exemplar as it stands.

    Attributes:
        id: its own; never used again for another.
        label: its class name.
        source: where it came from.
        state: whether it votes.
        flags: bits of holdfast.bundle.exemplars.Flag, for those of the bundle whose class is the bundle's; else 0.
        reason: why it is, or was, quarantined; "" where it never was.
        author: who changed it last; "" for an exemplar of the bundle that nobody has touched.
        time: when that was, seconds since 1970; 0.0 likewise.
        revision: sequence of that change; 0 likewise.
        believed: of one that is marked as doubted the name of the class that it is taken for; else "".

    """

    id: int
    label: str
    source: str
    state: State
    flags: int = 0
    reason: str = ""
    author: str = ""
    time: float = 0.0
    revision: int = 0
    believed: str = ""


@dataclass(frozen=True, slots=True)
class LabelRecord:
    """One class: its label id, which is its place in the class names, and its exemplars that are served."""

    id: int
    name: str
    exemplars: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is thought of one new exemplar. One in quarantine is stored and does not vote until it is approved."""

    quarantine: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class JudgedRows:
    """Exemplars about to be added or given another label, n of them.

    Attributes:
        embeddings: float32 [n, D], L2-normalised.
        labels: int64 [n]; at least the snapshot's number of classes for a class that is about to begin.
        ids: int64 [n]; of a relabelled exemplar its own, which the snapshot's index holds under its old label.
        served: int64 [n], how many exemplars of the same label vote now.

    """

    embeddings: Floats
    labels: Ints
    ids: Ints
    served: Ints

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.bool_]) -> "JudgedRows":
        """Some of them."""
        return JudgedRows(self.embeddings[rows], self.labels[rows], self.ids[rows], self.served[rows])


class Judge(Protocol):
    """Looks at new rows before they vote. It runs on the store's thread, and may search the snapshot's index."""

    def __call__(self, rows: JudgedRows, snapshot: ModelSnapshot, recent: Answers | None) -> Sequence[Judgement]:
        """One judgement a row.

        Args:
            rows: what is to be judged.
            snapshot: what is served now.
            recent: a sample of the latest answers, the oldest first; None where there are none yet.

        """


def pass_all(rows: JudgedRows, snapshot: ModelSnapshot, recent: Answers | None) -> Sequence[Judgement]:
    """A judge that lets everything vote."""
    del snapshot, recent
    return [Judgement(quarantine=False)] * len(rows)


def as_ids(ids: Sequence[int]) -> NDArray[np.int64]:
    """Ids as an array int64 [n]."""
    return np.asarray(ids, dtype=np.int64)
