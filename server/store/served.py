"""The exemplars as they are served: an index, a soft kNN and class names, and the next ones after a change."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from holdfast.model.answers import Floats, Ints
from holdfast.model.credibility import Calibration
from holdfast.model.live_surrogate import LiveSoftKNN
from holdfast.model.retrieval.base import Bank, Retriever
from holdfast.model.retrieval.live import Changes, LiveIndex
from holdfast.model.surrogate import SoftKNN
from holdfast.model.vote import VoteParameters
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.core.sources import ExemplarLookup
from holdfast.server.metrics.exemplars import ExemplarMetrics
from holdfast.server.store.catalogue import Catalogue
from holdfast.server.store.changes import IndexChange, Planned
from holdfast.server.store.journal.schema import StoredRow
from holdfast.server.store.records import State


@dataclass(frozen=True, eq=False)
class ServedExemplars:
    """Immutable. A successor shares what has not changed.

    Attributes:
        index: base and changes.
        soft: the soft kNN of them; None where the base cannot hand out its embeddings.
        class_names: by label id.
        sources: where they came from.
        sequence: of the latest change that is in it.
        changed: rows added, relabelled and deleted since credibility was calibrated.
        calibrated: rows that it was calibrated with.
        calibration: of credibility; None where there is none.
        vote: how neighbours vote. Class weights follow the exemplars when credibility is calibrated anew, and at a fold.
        stale_above: share of changed rows above which the calibration is called stale, in [0, 1].

    """

    index: LiveIndex
    soft: LiveSoftKNN | None
    class_names: tuple[str, ...]
    sources: ExemplarLookup
    sequence: int
    changed: int
    calibrated: int
    calibration: Calibration | None
    vote: VoteParameters
    stale_above: float

    @property
    def changed_share(self) -> float:
        """Rows changed since the calibration, for each that it was made with."""
        return self.changed / max(self.calibrated, 1)

    @property
    def stale(self) -> bool:
        """Whether so much has changed that credibility may be off."""
        return self.changed_share > self.stale_above

    def after(self, planned: Sequence[Planned], class_names: tuple[str, ...]) -> "ServedExemplars":
        """What is served after some changes, in their order."""
        index, soft, changed = self.index, self.soft, self.changed
        for each in planned:
            change = each.index
            # What leaves is asked for before, what comes after: a row that is deleted may be gone, one that comes is new.
            removed = _vectors(index, change.removed[0], soft)
            index = index.with_changes(change.changes)
            changed += change.rows
            if soft is not None:
                added = _vectors(index, change.added[0], soft)
                soft = soft.with_changes((added, change.added[1]), (removed, change.removed[1]), len(class_names))
        sequence = planned[-1].entry.sequence if planned else self.sequence
        return replace(self, index=index, soft=soft, class_names=class_names, sequence=sequence, changed=changed)

    def recalibrated(self, calibration: Calibration | None, vote: VoteParameters, at: "ServedExemplars") -> "ServedExemplars":
        """The same exemplars, calibrated with an earlier state `at` of them, and the vote that was calibrated."""
        soft = None if self.soft is None else self.soft.reweighed(vote.weights_of(len(self.class_names)))
        changed, size = self.changed - at.changed, at.index.size
        return replace(self, calibration=calibration, vote=vote, soft=soft, changed=changed, calibrated=size)

    def placed_in(self, snapshot: ModelSnapshot) -> ModelSnapshot:
        """A snapshot of the same bundle with these exemplars. It takes microseconds, and its number is the old one."""
        described = {
            "class_names": self.class_names,
            "vote": self.vote,
            "exemplars": self.index.size,
            "exemplars_revision": self.sequence,
            "changed_share": round(self.changed_share, 6),
            "calibration_stale": self.stale,
            "abstain_below": self.calibration.abstain_below if self.calibration is not None else 0.0,
        }
        classifier = snapshot.classifier.with_index(self.index, len(self.class_names), self.soft)
        return replace(
            snapshot,
            description=snapshot.description.model_copy(update=described),
            classifier=classifier.with_vote(self.vote).with_calibration(self.calibration),
            sources=self.sources,
        )


@dataclass(eq=False)
class StoreState:
    """What changes as a whole, under one lock: what is known, and what is served of it.

    Attributes:
        changing: held by whoever changes the others.
        folding: held, within `changing`, while folded rows are neither in the journal nor in the base that is known.
        known: exemplars and classes.
        served: index, soft kNN and class names.

    """

    known: Catalogue
    served: ServedExemplars
    changing: threading.RLock = field(default_factory=threading.RLock)
    folding: threading.RLock = field(default_factory=threading.RLock)

    def show(self, metrics: ExemplarMetrics, disk_bytes: int) -> None:
        """Tell the metrics; `disk_bytes` is the size of the journal."""
        served = self.served
        metrics.rows.set(served.index.size)
        metrics.quarantined.set(self.known.quarantined)
        metrics.classes.set(len(served.class_names))
        metrics.sequence.set(served.sequence)
        metrics.bytes.set(disk_bytes)
        metrics.unfolded.set(served.index.changed)
        metrics.changed_share.set(served.changed_share)
        metrics.stale.set(served.stale)


def replay(base: Retriever, rows: Sequence[StoredRow], vectors: Mapping[int, Floats], known: Catalogue) -> IndexChange:
    """What the rows of a journal change of the base that it stands on.

    A row of the base whose embedding the journal has was taken out of the base's hands: it is there under its own embedding,
    if it is served. Every other row of the base is relabelled or deleted there.
    """
    own = [row for row in rows if row.id in vectors and row.state == State.SERVED]
    overlaid = [row for row in rows if row.in_base and row.id not in vectors and row.state == State.SERVED]
    overlaid = [row for row in overlaid if _label_in_base(known, row.id) != row.label]
    gone = [row for row in rows if row.in_base and (row.id in vectors or row.state != State.SERVED)]
    embeddings = np.stack([vectors[row.id] for row in own]) if own else np.empty((0, base.dim), dtype=np.float32)
    added, of = _columns([(row.id, row.label) for row in own])
    relabelled, labels = _columns([(row.id, row.label) for row in overlaid])
    deleted, _ = _columns([(row.id, row.label) for row in gone])
    before = [(row.id, _label_in_base(known, row.id)) for row in [*gone, *overlaid]]
    after = [(row.id, row.label) for row in [*own, *overlaid]]
    changes = Changes(Bank(embeddings, added, of), relabelled, labels, deleted)
    return IndexChange(changes, _columns(before), _columns(after))


def begin(
    base: Retriever, soft: SoftKNN | LiveSoftKNN | None, change: IndexChange, classes: int
) -> tuple[LiveIndex, LiveSoftKNN | None]:
    """The index and the soft kNN of a base after the changes of a journal."""
    first = LiveIndex.over(base)
    index = first.with_changes(change.changes)
    if soft is None:
        return index, None
    live = soft if isinstance(soft, LiveSoftKNN) else LiveSoftKNN.over(soft)
    removed = first.reconstruct(change.removed[0]) if len(change.removed[0]) else _nothing(base.dim)[0]
    added = index.reconstruct(change.added[0]) if len(change.added[0]) else _nothing(base.dim)[0]
    return index, live.with_changes((added, change.added[1]), (removed, change.removed[1]), classes)


def _label_in_base(known: Catalogue, exemplar_id: int) -> int:
    row = known.base.row_of(exemplar_id)
    return -1 if row is None else int(known.base.table.labels[row])


def _columns(pairs: Sequence[tuple[int, int]]) -> tuple[Ints, Ints]:
    both = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return both[:, 0].copy(), both[:, 1].copy()


def _vectors(index: LiveIndex, ids: Ints, soft: LiveSoftKNN | None) -> Floats:
    return index.reconstruct(ids) if soft is not None and len(ids) else _nothing(index.dim)[0]


def _nothing(dim: int) -> tuple[Floats, Ints]:
    return np.empty((0, dim), dtype=np.float32), np.empty(0, dtype=np.int64)
