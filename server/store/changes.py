"""Requested changes, and what each makes of the exemplars: rows for the journal, and changes of the index."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from holdfast.model.answers import Floats, Ints
from holdfast.model.retrieval.base import Bank
from holdfast.model.retrieval.live import Changes
from holdfast.server.store.catalogue import Catalogue
from holdfast.server.store.errors import UnknownExemplarError
from holdfast.server.store.journal.schema import JournalEntry, StoredImage, StoredRow
from holdfast.server.store.records import Author, Judgement, NewExemplar, State


@dataclass(frozen=True)
class IndexChange:
    """What changes of the index and of the soft kNN, in this order: first what leaves, then what comes.

    Attributes:
        changes: of the index.
        removed: ids that leave the soft kNN, and the labels that they had.
        added: ids that come into it, and their labels.

    """

    changes: Changes
    removed: tuple[Ints, Ints]
    added: tuple[Ints, Ints]

    @property
    def rows(self) -> int:
        """How many rows of the index it touches."""
        added = self.changes.added
        return len(self.changes.relabelled) + len(self.changes.deleted) + (len(added.ids) if added is not None else 0)


class Vectors(Protocol):
    """Gives the embeddings of exemplars that are known."""

    def __call__(self, ids: Ints) -> Floats:
        """float32 [n, D], by ids int64 [n]."""


@dataclass(frozen=True)
class Planned:
    """A change that is ready to be written and to be served."""

    entry: JournalEntry
    index: IndexChange


@dataclass(frozen=True)
class Moment:
    """When and by whom a change is made: its sequence, seconds since 1970, author, request id and fingerprint."""

    sequence: int
    time: float
    author: Author
    request_id: str
    fingerprint: bytes

    def planned(self, kind: str, rows: Sequence[StoredRow], index: IndexChange, detail: dict[str, Any], **more: Any) -> Planned:
        """As the journal takes it, and as it is served."""
        entry = JournalEntry(
            sequence=self.sequence,
            time=self.time,
            author=self.author.name,
            request_id=self.request_id,
            kind=kind,
            fingerprint=self.fingerprint,
            ids=tuple(row.id for row in rows),
            states=tuple(row.state for row in rows),
            detail=detail,
            changed=index.rows,
            rows=tuple(rows),
            **more,
        )
        return Planned(entry, index)

    def audited(self, kind: str, detail: dict[str, Any]) -> JournalEntry:
        """For the audit trail alone."""
        return JournalEntry(
            self.sequence,
            self.time,
            self.author.name,
            self.request_id,
            kind,
            self.fingerprint,
            (),
            (),
            detail,
            changed=0,
            rows=(),
        )

    def stamped(self, row: StoredRow, **changes: Any) -> StoredRow:
        """A row changed now."""
        return replace(row, revision=self.sequence, author=self.author.name, time=self.time, **changes)


@dataclass(frozen=True)
class Addition:
    """New exemplars, embedded and judged. `images` are empty where none are kept."""

    exemplars: Sequence[NewExemplar]
    embeddings: Floats
    judgements: Sequence[Judgement]
    images: Sequence[tuple[bytes | None, bytes]] = ()

    def plan(self, known: Catalogue, moment: Moment, vectors: Vectors) -> Planned:
        """What it makes of a catalogue, which is changed."""
        del vectors
        labels, begun = _labels_of([each.label for each in self.exemplars], known)
        rows = []
        for exemplar, label, judged in zip(self.exemplars, labels, self.judgements, strict=True):
            state = State.QUARANTINED if judged.quarantine else State.SERVED
            blank = StoredRow(known.next_id, 0, label, exemplar.source, state, "", "", 0.0, in_base=False, added=True)
            rows.append(moment.stamped(blank, reason=judged.reason))
            known.put(rows[-1])
            known.next_id += 1
        served = np.array([row.state == State.SERVED for row in rows], dtype=np.bool_)
        ids, of = _ids_and_labels([row for row in rows if row.state == State.SERVED])
        return moment.planned(
            "add",
            rows,
            IndexChange(Changes(added=Bank(self.embeddings[served], ids, of)), _none(), (ids, of)),
            {"labels": [each.label for each in self.exemplars], "sources": [each.source for each in self.exemplars]},
            vectors={row.id: vector.tobytes() for row, vector in zip(rows, self.embeddings, strict=True)},
            images=tuple(StoredImage(row.id, *pair) for row, pair in zip(rows, self.images, strict=False)),
            labels=begun,
        )


@dataclass(frozen=True)
class Relabelling:
    """Exemplars and their new class names; those that are judged doubtful vote no more until they are approved."""

    labels: Mapping[int, str]
    judgements: Sequence[Judgement]

    def plan(self, known: Catalogue, moment: Moment, vectors: Vectors) -> Planned:
        """What it makes of a catalogue, which is changed. Raises UnknownExemplarError."""
        was = [known.find(each) for each in self.labels]
        labels, begun = _labels_of(list(self.labels.values()), known)
        rows = []
        for row, label, judged in zip(was, labels, self.judgements, strict=True):
            doubtful = judged.quarantine and row.state == State.SERVED and label != row.label
            state, reason = (State.QUARANTINED, judged.reason) if doubtful else (row.state, row.reason)
            rows.append(moment.stamped(row, label=label, state=state, reason=reason))
            known.put(rows[-1])
        served = [pair for pair in zip(was, rows, strict=True) if pair[0].state == State.SERVED]
        moved = [pair for pair in served if pair[1].state == State.SERVED and pair[0].label != pair[1].label]
        leaves = [pair for pair in served if pair[1].state != State.SERVED]
        ids, of = _ids_and_labels([after for _, after in moved])
        gone, _ = _ids_and_labels([after for _, after in leaves])
        # Also of one of the base, whose embedding is gone once it is folded away.
        kept = {each: vector.tobytes() for each, vector in zip(gone.tolist(), vectors(gone), strict=True)} if leaves else {}
        names = {"labels": list(self.labels.values()), "before": [known.class_names[row.label] for row in was]}
        changes = Changes(relabelled=ids, labels=of, deleted=gone)
        index = IndexChange(changes, _ids_and_labels([before for before, _ in moved + leaves]), (ids, of))
        return moment.planned("relabel", rows, index, names, labels=begun, vectors=kept)


@dataclass(frozen=True)
class Deletion:
    """Exemplars that are to vote no more; with `quarantined`, only such as do not vote yet."""

    ids: Sequence[int]
    quarantined: bool = False

    def plan(self, known: Catalogue, moment: Moment, vectors: Vectors) -> Planned:
        """What it makes of a catalogue, which is changed. Raises UnknownExemplarError."""
        del vectors
        was = [_in_quarantine(known, each) if self.quarantined else known.find(each) for each in self.ids]
        rows = [moment.stamped(row, state=State.DELETED) for row in was]
        for row in rows:
            known.put(row)
        ids, of = _ids_and_labels([row for row in was if row.state == State.SERVED])
        index = IndexChange(Changes(deleted=ids), (ids, of), _none())
        return moment.planned("drop" if self.quarantined else "delete", rows, index, {})


@dataclass(frozen=True)
class Approval:
    """Exemplars in quarantine that are to vote."""

    ids: Sequence[int]

    def plan(self, known: Catalogue, moment: Moment, vectors: Vectors) -> Planned:
        """What it makes of a catalogue, which is changed. Raises UnknownExemplarError."""
        rows = [moment.stamped(_in_quarantine(known, each), state=State.SERVED) for each in self.ids]
        for row in rows:
            known.put(row)
        ids, of = _ids_and_labels(rows)
        change = IndexChange(Changes(added=Bank(vectors(ids), ids, of)), _none(), (ids, of))
        return moment.planned("approve", rows, change, {})


Change = Addition | Relabelling | Deletion | Approval


def fingerprint_of(kind: str, parts: Sequence[object]) -> bytes:
    """Tells one requested change from another: SHA-256."""
    digest = hashlib.sha256(kind.encode())
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.digest()


def _labels_of(names: Sequence[str], known: Catalogue) -> tuple[list[int], dict[int, str]]:
    """Label ids of class names, and the classes that begin with them."""
    places = {name: place for place, name in enumerate(known.class_names)}
    begun: dict[int, str] = {}
    for name in names:
        if name not in places:
            places[name] = known.begin_class(name)
            begun[places[name]] = name
    return [places[name] for name in names], begun


def _in_quarantine(known: Catalogue, exemplar_id: int) -> StoredRow:
    row = known.find(exemplar_id)
    if row.state != State.QUARANTINED:
        raise UnknownExemplarError(f"exemplar {exemplar_id} is not in quarantine")
    return row


def _ids_and_labels(rows: Sequence[StoredRow]) -> tuple[Ints, Ints]:
    return np.array([row.id for row in rows], dtype=np.int64), np.array([row.label for row in rows], dtype=np.int64)


def _none() -> tuple[Ints, Ints]:
    return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
