"""One image that is asked again and again, never quite the same: what happened to it from one query to the next."""

from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from holdfast.model.answers import Floats
from holdfast.model.preprocess import Pixels
from holdfast.server.monitor.detectors.alike.differences import ImageChange, change_between
from holdfast.server.monitor.detectors.alike.scenes import moved_on
from holdfast.server.monitor.detectors.alike.shaking import explained_by_shaking
from holdfast.server.monitor.detectors.alike.steps import EVERYWHERE, ImageStep, distance

EXPLAINED = 0.6
"""Share of a difference that motion and light explain, from which on it is taken for a film's or a thumbnail's."""

HALF_LIFE_S = 3600.0
"""Seconds in which evidence halves."""

COMPARED, SAMPLED, LITTLE = 64, 8, 2.0
"""Queries of one cluster that are all looked at. Where there is less evidence than LITTLE after these, one in SAMPLED is."""

TAKEN_BACK = (-0.9, -0.25)
"""Cosines of a step with the one before that are those of a search. At -1 something goes to and fro, as a slider does."""

OTHERWISE = 0.15
"""By how much evidence falls with a variant that is none: of a search most are, of a film that is in doubt for long a few."""

LOCAL_WEIGHT = 0.5
"""What a step counts that changes a small part much: things that go by do, and so do patches."""

MOST_EVIDENCE = 64.0

CENTRED = 0.85
"""Times the step by which a query of a search is nearer to the best image so far. Of two noisy frames it is 1."""

LEVEL = 16
"""Variants over which their margin is averaged."""

REMEMBERED = 256
"""Different images of one cluster."""

WIDE = 8.0
"""Grey levels, root of the mean square, of noise that no camera has."""

TRAVELLED = 1.4
"""How many steps from the first image most of an image is that is on the way, and not anywhere around it."""

SHAKEN = 0.15
"""Share of a step that the motion of a camera explains, from which on it is one's that shakes: of noise it explains none."""

SAME_PLACE = 0.75
"""Share of a strong local step where the one before was, from which on it is a thing's that goes by, or a clock's."""

CAMERA_NOISE = 6.0
"""Grey levels, root of the mean square, by which two frames of a noisy camera differ at most."""

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
        lead: by how much the answer's share of the vote leads that of the next label.

    """

    now: float
    detail: Pixels
    embedding: Floats
    label: int
    margin: float
    lead: float


class Normal(NamedTuple):
    """What is normal among answers, by the bundle's held-out images.

    Attributes:
        alike: cosine similarity of embeddings that two different images hardly reach.
        doubtful: soft margin below which a tenth of the answers lie; -inf where there are no margins.
        edge: lead of the vote below which one in fifty answers lies.
        decline: nats by which the mean margin of one image's variants does not fall by chance.

    """

    alike: float = 0.97
    doubtful: float = -inf
    edge: float = 0.0
    decline: float = 0.2


class ClusterCounts(NamedTuple):
    """What a cluster had counted when one image was put into it.

    Attributes:
        alike, evidence, doubtful, turn: as of Cluster.
        turn_spread: standard deviation of the cosine between a step and the next.

    """

    alike: int
    evidence: float
    doubtful: float
    turn: float
    turn_spread: float


Changes = dict[int, ImageChange]
"""How one image differs from others, by the identity of their pixels."""

Steps = tuple[ImageStep, ImageStep | None]
"""The step to an image, and the one before that."""


@dataclass(slots=True)
class Cluster:
    """Alike images, one after another. Counts that are float decay by half in HALF_LIFE_S.

    Attributes:
        first, latest, best: images of it; the best is that of the lowest margin, which a search goes on from.
        alike: how many were alike and not identical.
        evidence: of these, how many were steps of a search and moved the answer; falls with others, and never below 0.
        doubtful: how many were near another answer, or had one, however they changed.
        level, highest: mean margin of about the last LEVEL of them, and the largest that it was.
        seen: hashes of the latest REMEMBERED different ones: what was asked before is asked again by no search.
        turn, turn_square: mean and mean square of the cosine between a step and the next, over about TURNS of them.

    """

    first: Query
    latest: Query
    best: Query
    level: float
    highest: float
    alike: int = 0
    evidence: float = 0.0
    doubtful: float = 0.0
    turn: float = 0.0
    turn_square: float = 0.0
    seen: dict[int, None] = field(default_factory=dict)
    _step: ImageStep | None = None

    @classmethod
    def begin(cls, query: Query) -> "Cluster":
        """Of one image."""
        return cls(query, query, query, query.margin, query.margin)

    @property
    def counts(self) -> ClusterCounts:
        """As they are now."""
        spread = max(0.0, self.turn_square - self.turn**2) ** 0.5
        return ClusterCounts(self.alike, self.evidence, self.doubtful, self.turn, spread)

    def is_repeated(self, query: Query) -> bool:
        """Whether this very image was asked lately; it is remembered."""
        digest = hash(query.detail.tobytes())
        if not self.seen:
            self.seen[hash(self.first.detail.tobytes())] = None
        if digest in self.seen:
            return True
        self.seen[digest] = None
        if len(self.seen) > REMEMBERED:
            del self.seen[next(iter(self.seen))]
        return False

    def add(self, query: Query, normal: Normal, known: Changes) -> bool:
        """One more alike image. Returns whether it is a new one.

        Args:
            query: the image.
            normal: what answers are like where nobody attacks.
            known: how this query differs from others; what is found is added.

        """
        if self.is_repeated(query):
            return False
        before, self.latest = self.latest, query
        self.alike += 1
        last = self._step
        step = ImageStep.between(before.detail, query.detail, last)
        self._turn(step)
        self._follow(query.margin)
        kept = 0.5 ** ((query.now - before.now) / HALF_LIFE_S)
        other = query.label != self.first.label
        self.doubtful = self.doubtful * kept + (other or query.margin < normal.doubtful)
        is_looked_at = self.alike <= COMPARED or self.evidence >= LITTLE or self.alike % SAMPLED == 0
        if is_looked_at:
            found = self._evidence(query, before, (step, last), known, normal)
            self.evidence = min(max(0.0, self.evidence * kept + found), MOST_EVIDENCE)
        if query.margin < self.best.margin:
            self.best = query
        return True

    def _evidence(self, query: Query, before: Query, steps: Steps, known: Changes, normal: Normal) -> float:
        """What one variant says of a search; below 0 where it speaks against one."""
        step, _ = steps
        if not TAKEN_BACK[0] <= step.cosine <= TAKEN_BACK[1]:  # most films end here, before anything costs much
            return -OTHERWISE
        if _change(query, before, known).explained >= EXPLAINED:
            return -OTHERWISE
        is_centred = distance(query.detail, self.best.detail) <= CENTRED * step.square**0.5
        if not is_centred and not self._moved(query, before, steps, known, normal):
            return -OTHERWISE
        if explained_by_shaking(query.detail, before.detail) >= SHAKEN:  # what costs most is asked last
            return -OTHERWISE
        return LOCAL_WEIGHT if step.is_local else 1.0

    def _follow(self, margin: float) -> None:
        """The mean of the first few is the mean of all; a first margin that was high by chance is no height to fall from."""
        self.level += (margin - self.level) / min(LEVEL, self.alike + 1)
        self.highest = self.level if self.alike < LEVEL else max(self.highest, self.level)

    def _moved(self, query: Query, before: Query, steps: Steps, known: Changes, normal: Normal) -> bool:
        """Whether the answer moves with what is asked: images go along the edge of a class, or the margin falls and falls.

        The noise of a camera that sees a doubtful scene takes the answer over the edge, too, and so does what goes by before
        it. But the scene stands still: light aside, most of a frame is as far from the first one as from the frame before.
        """
        change, far = _change(query, before, known), _change(query, self.first, known)
        if far.explained >= EXPLAINED:
            return False
        on_edge = query.lead < normal.edge
        if on_edge and self._travels(query, before):
            return True
        step, last = steps
        if change.rms > CAMERA_NOISE and (on_edge or query.label != self.first.label):
            return last is None or not step.is_local or step.overlap(last) < SAME_PLACE
        if self.level >= self.highest - normal.decline:
            return False
        if step.is_weak_and_local:
            return self._travels(query, before)
        return change.rms > WIDE and step.spread > EVERYWHERE

    def _travels(self, query: Query, before: Query) -> bool:
        return moved_on(query.detail, before.detail, self.first.detail) >= TRAVELLED

    def _turn(self, step: ImageStep) -> None:
        is_first, self._step = self._step is None, step
        if not is_first:
            rate = 1 / min(TURNS, self.alike)
            self.turn += rate * (step.cosine - self.turn)
            self.turn_square += rate * (step.cosine * step.cosine - self.turn_square)


def _change(one: Query, other: Query, known: Changes) -> ImageChange:
    found = known.get(id(other.detail))
    if found is None:
        found = known[id(other.detail)] = change_between(one.detail, other.detail)
    return found
