"""What becomes of an index: exemplars kept, added or replaced, classes renamed, another vote."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.calibration_set import CalibrationSet
from holdfast.bundle.exemplars import DIGEST_BYTES, Flag
from holdfast.bundle.manifest import IndexedSet, Manifest
from holdfast.bundle.reader import CALIBRATION, Bundle
from holdfast.bundle.sources import Sources
from holdfast.data.streamed import StreamedSplits
from holdfast.index_build.adapting.classes import ClassChanges
from holdfast.index_build.adapting.relabelled import RelabelledSource
from holdfast.index_build.finish import IndexRows
from holdfast.index_build.plan import IndexPlan, fitting_k, refuse_counts
from holdfast.index_build.streaming.gather import EmbeddedSet
from holdfast.index_build.streaming.known import KnownImages
from holdfast.model.answers import Ints
from holdfast.model.retrieval.embeddings import Embeddings

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexChanges:
    """What becomes of a bundle's index.

    Attributes:
        classes: renamed, made one, ordered.
        k: neighbours that vote; by default as many as the bundle's, of a smaller set the same share (`fitting_k`).
        merge: whether the new exemplars join those that are there, or take their place.

    """

    classes: ClassChanges = field(default_factory=lambda: ClassChanges({}))
    k: int | None = None
    merge: bool = False


@dataclass(frozen=True, eq=False)
class NewSet:
    """A labelled set, embedded or about to be.

    Attributes:
        splits: its images.
        record: what the manifest says of it; hashes and counts are filled in by what was read.

    """

    splits: StreamedSplits
    record: IndexedSet


@dataclass(frozen=True, eq=False)
class Adaptation:
    """An index of other exemplars for a bundle.

    Attributes:
        bundle: the old one; open, and complete where its exemplars are kept.
        changes: what becomes of its index.
        new: the set that comes in; None where the exemplars stay what they are.

    """

    bundle: Bundle
    changes: IndexChanges
    new: NewSet | None

    @property
    def keeps(self) -> bool:
        """Whether the exemplars that are there stay."""
        return self.new is None or self.changes.merge

    @property
    def leaves_out(self) -> bool:
        """Whether exemplars are left out once each, where nothing is held out: not those that the encoder was trained on."""
        return self.new is not None and self.new.record.few_shot and not self.keeps

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the new index. Raises ClassError."""
        old = [self.bundle.class_names] if self.keeps else []
        new = [self.new.splits.class_names] if self.new else []
        return self.changes.classes.united(*old, *new)

    @property
    def old_labels(self) -> Ints:
        """The new label of each old class."""
        return self.changes.classes.labels(self.bundle.class_names, self.class_names)

    @property
    def new_labels(self) -> Ints:
        """The new label of each class of the set that comes in."""
        return self.changes.classes.labels(self.new.splits.class_names if self.new else (), self.class_names)

    @property
    def test(self) -> RelabelledSource | None:
        """The test part of the set that comes in, labelled in the classes of the new index."""
        if self.new is None:
            return None
        test = self.new.splits.test
        return RelabelledSource(test, self.new_labels[test.labels], self.class_names)

    def plan(self, prior_correction: float | None = None) -> IndexPlan:
        """Classes, counts and vote, before anything is embedded.

        Args:
            prior_correction: of the vote, as in `IndexOptions`.

        Raises:
            IndexBuildError: a class without exemplars, a single class, or fewer exemplars than neighbours that were asked for.

        """
        size = len(self.class_names)
        none = np.zeros(size, dtype=np.int64)
        present = np.bincount(self.old_labels[self.bundle.exemplars.labels], minlength=size) if self.keeps else none
        kept = np.bincount(self.old_labels[self._old_held_out.labels], minlength=size) if self.keeps else none
        counts = [none, none, none]
        if self.new is not None:
            parts = (self.new.splits.train, self.new.splits.calibration, self.new.splits.test)
            counts = [np.bincount(self.new_labels[part.labels], minlength=size) for part in parts]
        exemplars = present + counts[0]
        vote, k = self.bundle.manifest.vote, self.k_for(exemplars)
        refuse_counts(self.class_names, exemplars, k)
        vote = vote.model_copy(update={"k": k}).corrected(exemplars, prior_correction)
        return IndexPlan(self.class_names, present, counts[0], kept + counts[1], counts[2], vote)

    def k_for(self, counts: Ints) -> int:
        """How many neighbours vote, of int64 [C] exemplars of each class."""
        total, before = int(counts.sum()), self.bundle.manifest.index
        among = before.exemplars if before else total
        fitting = min(fitting_k(self.bundle.manifest.vote.k, among, counts), total)
        # More neighbours than a class has exemplars would never be of one class.
        return self.changes.k or (min(fitting, int(counts.min())) if self.leaves_out else fitting)

    @property
    def _old_held_out(self) -> CalibrationSet:
        if CALIBRATION in self.bundle.manifest.files:
            return self.bundle.calibration_set
        return CalibrationSet(np.zeros((0, self.bundle.encoder.dim), np.float32), np.zeros(0, np.int64), ())

    def rows(self, embeddings: Embeddings, train: EmbeddedSet | None) -> IndexRows:
        """The exemplars of the new index: those that are kept, then those of the set.

        Args:
            embeddings: float32 [M, D], theirs, in this order; they may lie in a file.
            train: the set, embedded.

        """
        ids, labels, believed = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], None
        sources, flags, next_id = [Sources.of(())], [np.zeros(0, np.uint8)], 0
        digests = [np.zeros((0, DIGEST_BYTES), np.uint8)]
        if self.keeps:
            table = self.bundle.exemplars
            ids, labels, sources, flags = [table.ids], [self.old_labels[table.labels]], [table.sources], [table.flags]
            digests, next_id = [table.known_digests()], self.bundle.next_id
            if table.believed is not None:
                believed = np.where(table.believed < 0, -1, self.old_labels[table.believed.clip(0)])
        if train is not None:
            ids.append(np.arange(next_id, next_id + len(train.labels)))
            next_id += len(train.labels)
            labels.append(self.new_labels[train.labels])
            sources.append(train.sources)
            flags.append(np.zeros(len(train.labels), np.uint8))
            digests.append(train.digests)
            if believed is not None:
                believed = np.append(believed, np.full(len(train.labels), -1))
        known = np.concatenate(flags) & ~np.uint8(Flag.DISAGREES)
        return IndexRows(
            embeddings,
            _joined(ids),
            _joined(labels),
            Sources.joined([part for part in sources if len(part)]),
            flags=known,
            digests=_joined(digests),
            next_id=next_id,
            believed=believed,
        )

    def known(self, embeddings: Embeddings) -> KnownImages | None:
        """The images that the bundle has already, by the embeddings float32 [M, D] of its exemplars; None where none stays."""
        if not self.keeps:
            return None
        table = self.bundle.exemplars
        return KnownImages.of(table, self.old_labels[table.labels], embeddings, self.held_out(None), self.new_labels)

    def splits_added(self, embedded: EmbeddedSet) -> StreamedSplits:
        """The set without images that were there already, where all of the others could be read."""
        if self.new is None:
            raise ValueError("no set comes in")
        splits, there = self.new.splits, embedded.already_there
        if embedded.faults:
            return splits
        train = np.delete(np.arange(len(splits.train)), there.train)
        calibration = np.delete(np.arange(len(splits.calibration)), there.calibration)
        return replace(splits, train=splits.train.select(train), calibration=splits.calibration.select(calibration))

    def held_out(self, new: CalibrationSet | None) -> CalibrationSet:
        """What credibility is calibrated on: images of the set that comes in first, then those of before."""
        parts = [] if new is None else [replace(new, labels=self.new_labels[new.labels])]
        if self.keeps:
            old = self._old_held_out
            parts.append(replace(old, labels=self.old_labels[old.labels]))
        return CalibrationSet(
            np.concatenate([part.embeddings for part in parts]),
            np.concatenate([part.labels for part in parts]),
            tuple(source for part in parts for source in part.sources),
        )

    def manifest(self, k: int) -> Manifest:
        """The old manifest with the classes and the vote of the new index, and nothing that was measured with the old one."""
        old = self.bundle.manifest
        changes = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "class_names": self.class_names,
            "vote": old.vote.model_copy(update={"k": k}),
            "accuracy": None,
            "uncalibrated": None,
        }
        return old.model_copy(update=changes)

    def recorded(self, embedded: EmbeddedSet | None) -> dict[str, object]:
        """What the index's record says of the set, once it has been read; see `IndexRecord`."""
        before = self.bundle.manifest.index
        if self.new is None or embedded is None:
            known = before.renamed if before else {}
            later = self.changes.classes.renamed
            renamed = {name: later.get(known.get(name, name), known.get(name, name)) for name in {*known, *later}}
            kept = {name: new for name, new in renamed.items() if name != new}
            return {"data": before.data if before else None, "renamed": dict(sorted(kept.items()))}
        read = {
            "sha256": embedded.sha256,
            "test_sha256": embedded.test_sha256,
            "test_images": embedded.test_images,
            "merged": self.changes.merge,
            "already_there": len(embedded.already_there.train),
        }
        return {
            "data": self.new.record.model_copy(update=read),
            "renamed": self.changes.classes.of(self.new.splits.class_names),
        }


def _joined(parts: Sequence[NDArray[Scalar]]) -> NDArray[Scalar]:
    """Columns one after the other: no copy where all rows are in one."""
    filled = [part for part in parts if len(part)]
    return np.concatenate(filled) if len(filled) > 1 else (filled or parts)[0]
