"""Opening a store: the journal, the bundle that it stands on, and what both together serve."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.calibration_set import CalibrationSet
from holdfast.bundle.exemplars import Exemplars
from holdfast.bundle.manifest import Manifest
from holdfast.bundle.reader import CALIBRATION, CANARY, ENCODER, ENCODER_FLOAT16, GRADIENT, HEAD, WEIGHTS, Bundle
from holdfast.model.answers import Ints
from holdfast.model.credibility import Calibration
from holdfast.model.live_surrogate import LiveSoftKNN
from holdfast.model.retrieval.base import Retriever
from holdfast.model.retrieval.shared import SharedRetriever
from holdfast.model.surrogate import SoftKNN, Surrogate
from holdfast.model.vote import VoteParameters
from holdfast.server.core.sources import ExemplarLookup, TableSources
from holdfast.server.store.catalogue import BaseRows, Catalogue
from holdfast.server.store.errors import JournalMismatchError
from holdfast.server.store.journal.journal import ChangeJournal
from holdfast.server.store.journal.schema import Standing
from holdfast.server.store.served import ServedExemplars, StoreState, begin, replay

NOT_OF_THE_INDEX = (ENCODER, ENCODER_FLOAT16, GRADIENT, WEIGHTS, CALIBRATION, CANARY, HEAD)
"""Files of a bundle that say nothing of its exemplars; so does its report."""


@dataclass(frozen=True, eq=False)
class Base:
    """What a journal stands on: an index that does not change, and what its rows are.

    Attributes:
        index: searchable.
        table: its rows.
        class_names: by label id.
        soft: the soft kNN of it; None where it cannot hand out its embeddings.
        calibration: of credibility; None where there is none.
        vote: how neighbours vote.
        next_id: of the next exemplar, as the bundle knows it.

    """

    index: Retriever
    table: Exemplars
    class_names: tuple[str, ...]
    soft: SoftKNN | LiveSoftKNN | None
    calibration: Calibration | None
    vote: VoteParameters
    next_id: int

    @classmethod
    def of(cls, bundle: Bundle, soft: Surrogate | None) -> "Base":
        """Of a bundle, and of the soft kNN that its classifier made."""
        assert soft is None or isinstance(soft, SoftKNN | LiveSoftKNN)  # noqa: S101 - a classifier makes no other
        index, table, manifest = bundle.index, bundle.exemplars, bundle.manifest
        if isinstance(index, SharedRetriever):  # what this store adds to it is searched here, exactly and at once
            index = index.up_to(int(table.ids.max(initial=-1)))
        return cls(index, table, manifest.class_names, soft, manifest.calibration, manifest.vote, bundle.next_id)


class JournalSources:
    """Sources and marks of exemplars of a bundle and of a journal over it."""

    def __init__(self, base: ExemplarLookup, known: Catalogue) -> None:
        self._base, self._known = base, known

    def of(self, ids: Ints) -> list[str]:
        """One name for each id of int64 [n]; "" for one that is not known."""
        names = self._base.of(ids)
        for place, each in enumerate(ids.tolist()):
            row = self._known.rows.get(each)
            if row is not None and not row.in_base:
                names[place] = row.source
        return names

    def flags(self, ids: Ints) -> NDArray[np.uint8]:
        """Bits of `Flag` for each id of int64 [n]: uint8 [n], 0 of one that was added or changed since."""
        changed = np.array([self._known.rows.get(each) is not None for each in ids.tolist()], dtype=np.bool_)
        return np.where(changed, 0, self._base.flags(ids)).astype(np.uint8)


def identity_of(manifest: Manifest) -> str:
    """Tells one set of exemplars under one encoder from every other: SHA-256 over those of the encoder and of the index."""
    digest = hashlib.sha256(manifest.files[ENCODER].encode())
    for name, content in sorted(manifest.files.items()):
        if name not in NOT_OF_THE_INDEX and not name.startswith("report/"):
            digest.update(f" {name} {content}".encode())
    return digest.hexdigest()


def held_out_of(bundle: Bundle) -> CalibrationSet | None:
    """The images that credibility can be calibrated with; None where a bundle has none."""
    return bundle.calibration_set if CALIBRATION in bundle.manifest.files else None


def stands_elsewhere(journal: ChangeJournal, manifest: Manifest) -> bool:
    """Whether a journal stands on another bundle."""
    standing = journal.standing()
    return standing is not None and standing.origin != identity_of(manifest)


def standing_of(journal: ChangeJournal, manifest: Manifest, where: Path) -> Standing:
    """Which bundle a journal stands on; a new one on this bundle from now on.

    Raises:
        JournalMismatchError: it stands on another one.

    """
    standing, identity = journal.standing(), identity_of(manifest)
    if standing is None:
        standing = Standing(identity, manifest.files[ENCODER], manifest.name, manifest.class_names)
        journal.stand_on(standing)
    elif standing.origin != identity:
        what = "encoder" if standing.encoder != manifest.files[ENCODER] else "index"
        raise JournalMismatchError(
            f"the store {journal.directory} belongs to another bundle, {standing.name!r} with another {what} than {where}:"
            " start the server with that bundle and let it reload this one, which takes the store along (--keep-images), or"
            " choose an empty directory as --store"
        )
    return standing


def state_of(journal: ChangeJournal, base: Base, stale_above: float, calibrated_at: int = 0) -> StoreState:
    """What a base, whose credibility has seen changes up to a sequence, and the journal over it serve.

    Raises:
        JournalDamagedError: the journal's bytes are not those that were written.

    """
    rows, begun = journal.rows(), journal.labels()
    class_names = class_names_of(base.class_names, begun)
    largest = max(journal.largest_id, base.next_id - 1)
    known = Catalogue.of(BaseRows(base.table), class_names, rows, largest)
    vectors = journal.vectors(row.id for row in rows)
    change = replay(base.index, rows, vectors, known)
    index, soft = begin(base.index, base.soft, change, len(class_names))
    sources = JournalSources(TableSources(lambda: base.table), known)
    changed = max(journal.changed_since(calibrated_at), index.changed)
    served = ServedExemplars(
        index,
        soft,
        class_names,
        sources,
        journal.sequence,
        changed=changed,
        calibrated=base.index.size,
        calibration=base.calibration,
        vote=base.vote,
        stale_above=stale_above,
    )
    return StoreState(known, served)


def class_names_of(base: tuple[str, ...], begun: dict[int, str]) -> tuple[str, ...]:
    """Those of the base, and those that the journal has begun; a base that was made of the journal has some of these."""
    names = list(base)
    for label, name in sorted(begun.items()):
        if label >= len(names):
            names.append(name)
    return tuple(names)
