"""Taking what was changed along to another bundle, whose encoder may be another one."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from PIL import Image

from holdfast.bundle.exemplars import Exemplars
from holdfast.bundle.reader import ENCODER, Bundle
from holdfast.model.preprocess import Pixels
from holdfast.model.retrieval.base import vectors_of
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.store.changes import Moment
from holdfast.server.store.errors import JournalMismatchError
from holdfast.server.store.journal.journal import ChangeJournal
from holdfast.server.store.journal.schema import MovedRows, Standing, StoredRow
from holdfast.server.store.opening import Base, class_names_of, identity_of, state_of
from holdfast.server.store.pipeline.preparation import embedded
from holdfast.server.store.records import Author, State, as_ids
from holdfast.server.store.served import StoreState

log = logging.getLogger(__name__)

Publish = Callable[[ModelSnapshot], ModelSnapshot]
"""Serves a model. Raises HoldfastError where it cannot be served."""


@dataclass(frozen=True, eq=False)
class Destination:
    """The bundle that is followed, its model, and how much may change before its calibration is stale."""

    bundle: Bundle
    snapshot: ModelSnapshot
    stale_above: float


def follow(journal: ChangeJournal, to: Destination, publish: Publish) -> StoreState:
    """Let a journal stand on another bundle, and serve that with everything that was changed.

    Added exemplars are embedded anew from their pictures. One of the old bundle that was relabelled or deleted is so in the new
    one too where exactly one exemplar there has its source. An id that the new bundle has already is replaced by a new one.

    Raises:
        JournalMismatchError: pictures were not kept; says of how many.
        StoreFullError: no room for the new embeddings.
        HoldfastError: the model cannot be published.

    In each case the journal stands where it stood.

    """
    standing = journal.standing()
    assert standing is not None  # noqa: S101 - a journal that was opened stands on something
    manifest = to.bundle.manifest
    names = class_names_of(standing.class_names, journal.labels())
    moved = _moved(journal, to, names)
    sequence = journal.sequence + 1
    new = Standing(identity_of(manifest), manifest.files[ENCODER], manifest.name, manifest.class_names, folded=sequence)
    detail = {
        "from": standing.name,
        "to": manifest.name,
        "ids": {str(was): now for was, now in moved.ids.items() if was != now},
    }
    moment = Moment(sequence, time.time(), Author("server"), f"follow {sequence}", b"")
    with journal.moving(new, moved, moment.audited("follow", detail)):
        base = Base.of(to.bundle, to.snapshot.classifier.surrogate)
        state = state_of(journal, base, to.stale_above, sequence)
        publish(state.served.placed_in(to.snapshot))
    log.info("%d changed exemplars have followed to %s", len(moved.rows), manifest.name)
    return state


def _moved(journal: ChangeJournal, to: Destination, names: tuple[str, ...]) -> MovedRows:
    """What the journal holds, as it is over the new bundle."""
    rows = journal.rows_with_folded()
    added = [row for row in rows if row.added and row.state != State.DELETED]
    pictures = journal.images(row.id for row in added)
    if missing := [row.id for row in added if row.id not in pictures]:
        raise JournalMismatchError(
            f"{len(missing)} of {len(added)} added exemplars cannot follow to {to.bundle.manifest.name}: their pictures were"
            f" not kept (--keep-images): delete them first, such as {missing[0]}, and add them again afterwards"
        )
    table = to.bundle.exemplars
    labels, begun = _labels(names, to.bundle.manifest.class_names, rows)
    ids = _new_ids([row.id for row in added], table, max(journal.largest_id, to.bundle.next_id - 1))
    moved = [replace(row, id=ids[row.id], label=labels[row.label], in_base=False) for row in added]
    vectors = {}
    if added:
        pixels = np.stack([_pixels(pictures[row.id][1]) for row in added])
        vectors = {row.id: vector.tobytes() for row, vector in zip(moved, embedded(to.snapshot, pixels), strict=True)}
    touched = _touched([row for row in rows if not row.added], table, labels)
    waiting = as_ids([row.id for row in touched if row.state == State.QUARANTINED])
    if len(waiting):
        of = vectors_of(to.snapshot.classifier.retriever, waiting)
        vectors |= {each: vector.tobytes() for each, vector in zip(waiting.tolist(), of, strict=True)}
    return MovedRows(moved + touched, vectors, ids, begun)


def _touched(rows: list[StoredRow], table: Exemplars, labels: dict[int, int]) -> list[StoredRow]:
    """Changed exemplars of the old bundle, as those of the new one that have their sources."""
    places: dict[str, list[int]] = {}
    if rows:
        for place in range(len(table)):
            places.setdefault(table.sources[place], []).append(place)
    found = [(row, places.get(row.source, [])) for row in rows if row.source]
    return [
        replace(row, id=int(table.ids[there[0]]), label=labels[row.label], in_base=True)
        for row, there in found
        if len(there) == 1
    ]


def _labels(old: tuple[str, ...], new: tuple[str, ...], rows: list[StoredRow]) -> tuple[dict[int, int], dict[int, str]]:
    """Label ids in the new bundle of those in the old one, and the classes that begin with them."""
    places, begun = {name: label for label, name in enumerate(new)}, {}
    labels = {}
    for label in sorted({row.label for row in rows}):
        name = old[label]
        if name not in places:
            places[name] = len(places)
            begun[places[name]] = name
        labels[label] = places[name]
    return labels, begun


def _new_ids(ids: list[int], table: Exemplars, largest: int) -> dict[int, int]:
    """Ids in the new bundle: the old ones, but for those that it has already."""
    taken = set(np.intersect1d(as_ids(ids), table.ids).tolist())
    following = max(largest, int(table.ids.max(initial=-1))) + 1
    chosen = {}
    for each in ids:
        chosen[each] = following if each in taken else each
        following += each in taken
    return chosen


def _pixels(png: bytes) -> Pixels:
    with Image.open(BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))
