"""One image that is asked again and again, never quite the same: what happened to it from one query to the next."""

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Floats
from holdfast.model.preprocess import Pixels
from holdfast.server.monitor.detectors.alike.differences import ImageChange, difference

EXPLAINED = 0.6
"""Share of a difference that motion and light explain, from which on it is taken for a film's or a thumbnail's."""

HALF_LIFE_S = 3600.0
"""Seconds in which evidence halves."""

COMPARED = 64
"""Queries of one cluster that are all compared. Where these showed little, one in `SAMPLED` is, and counts as many."""

SAMPLED = 8
LITTLE = 4.0

TURNS = 16
"""Pairs of changes over which their cosine is averaged."""


class Query(NamedTuple):
    """One image that was asked.

    Attributes:
        now: seconds.
        detail: uint8 [h, w, C], all or a part of its pixels; not changed any more.
        embedding: float32 [D]; likewise.
        label: that was answered.
        margin: the soft margin, nats; NaN where there is none.

    """

    now: float
    detail: Pixels
    embedding: Floats
    label: int
    margin: float


class Normal(NamedTuple):
    """What is normal among answers, by the bundle's held-out images.

    Attributes:
        alike: cosine similarity of embeddings that two different images hardly reach.
        doubtful: soft margin below which a tenth of the answers lie; -inf where there are no margins.
        change: nats by which the margins of one image's variants differ at most.

    """

    alike: float = 0.97
    doubtful: float = -inf
    change: float = 0.75


@dataclass(slots=True)
class Cluster:
    """Alike images, one after another. Counts that are float decay by half in HALF_LIFE_S.

    Attributes:
        latest: the last one.
        label, margin: of the one that the model was most sure of.
        alike: how many were alike and not identical.
        evidence: of these, how many changed in a way that no motion explains, and moved the answer.
        doubtful: how many were near another answer, or had one, however they changed.
        turn, turn_square: mean and mean square of the cosine between a change and the next, over about TURNS of them.

    """

    latest: Query
    label: int
    margin: float
    alike: int = 0
    evidence: float = 0.0
    doubtful: float = 0.0
    turn: float = 0.0
    turn_square: float = 0.0
    _change: NDArray[np.float32] | None = None

    @classmethod
    def begin(cls, query: Query) -> "Cluster":
        """Of one image."""
        return cls(query, query.label, query.margin)

    def add(self, query: Query, normal: Normal, known: dict[int, ImageChange]) -> bool:
        """One more alike image. Returns whether it is another one and was compared.

        Args:
            query: the image.
            normal: what answers are like where nobody attacks.
            known: differences of this query from others, by the identity of their pixels; what is found is added.

        """
        before = self.latest
        weight = 1 if self.alike < COMPARED or self.evidence >= LITTLE else SAMPLED
        if weight > 1 and self.alike % SAMPLED:
            self.alike += not np.array_equal(query.detail, before.detail)
            return False
        found = known.get(id(before.detail))
        if found is None:
            found = known[id(before.detail)] = difference(query.detail, before.detail)
        if found.rms == 0:
            return False
        self.latest = query
        self.alike += 1
        self._count(query, found, normal, weight, 0.5 ** ((query.now - before.now) / HALF_LIFE_S))
        self._turn(query.detail.astype(np.float32) - before.detail)
        if not query.margin <= self.margin:
            self.label, self.margin = query.label, query.margin
        return True

    def _count(self, query: Query, found: ImageChange, normal: Normal, weight: int, kept: float) -> None:
        other = query.label != self.label
        moved = other or query.margin < self.margin - normal.change
        self.evidence = self.evidence * kept + weight * (moved and found.explained < EXPLAINED)
        self.doubtful = self.doubtful * kept + weight * (other or query.margin < normal.doubtful)

    def _turn(self, change: NDArray[np.float32]) -> None:
        before, self._change = self._change, change
        if before is None:
            return
        lengths = float(np.vdot(before, before)) * float(np.vdot(change, change))
        cosine = float(np.vdot(before, change)) / lengths**0.5 if lengths else 0.0
        rate = 1 / min(TURNS, self.alike)
        self.turn += rate * (cosine - self.turn)
        self.turn_square += rate * (cosine * cosine - self.turn_square)
