"""From embeddings to an index that can be served: build, audit, choose the vote, calibrate."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.calibration_set import CalibrationSet
from holdfast.bundle.exemplars import Exemplars, Flag
from holdfast.bundle.manifest import DoubtedLabels, IndexRecord, Manifest, VoteAgreement
from holdfast.bundle.migrations import FLAT
from holdfast.bundle.reader import CALIBRATION, EXEMPLARS, Bundle
from holdfast.bundle.sources import Sources
from holdfast.data.streamed import StreamedSplits
from holdfast.index_build.audit import EXACT_ROWS, ROUNDED, SAME, disagreement_flags, recall_at_k
from holdfast.index_build.calibrate import calibrated
from holdfast.index_build.cells import disagreement_flags_by_cells
from holdfast.index_build.choose import ATTACKED, HeldOut, with_chosen_vote
from holdfast.index_build.harden import read_all
from holdfast.index_build.options import IndexBuildError, IndexOptions
from holdfast.index_build.streaming.progress import progress
from holdfast.model.answers import Ints, Neighbours
from holdfast.model.retrieval.approximate.choice import IndexChoice, choose_index
from holdfast.model.retrieval.embeddings import Embeddings, ReadableBank, StoredBank
from holdfast.model.retrieval.table import StoredRetriever, build_retriever, discarded_on_failure, retriever_kind, writers_of
from holdfast.model.vote import vote

BLOCK = 65536  # rows rounded at once

VoteChooser = Callable[[StoredRetriever, ReadableBank, Manifest], Manifest]
"""Gives the manifest the vote that does best."""


@dataclass(frozen=True, eq=False)
class LabelCheck:
    """Labels that were doubted; see `index_build.labels`.

    Attributes:
        record: for the manifest.
        listing: of all that were doubted, those that are left out too: CSV.

    """

    record: DoubtedLabels
    listing: bytes


@dataclass(frozen=True, eq=False)
class IndexRows:
    """Exemplars, before there is an index of them.

    Attributes:
        embeddings: float32 [M, D], L2-normalised; may lie in a file, and are rounded in place where that is asked for.
        ids: int64 [M], unique.
        labels: int64 [M].
        sources: M names.
        flags: uint8 [M], what is known of them: `Flag.ATTACKED`, for instance.
        digests: uint8 [M, DIGEST_BYTES], see `Exemplars`.
        next_id: an id that neither these nor any exemplar of before has or had, nor any larger one.
        believed: int64 [M], see `Exemplars.believed`.
        check: what became of labels that were doubted; None where nobody looked.

    """

    embeddings: Embeddings
    ids: Ints
    labels: Ints
    sources: Sources
    flags: NDArray[np.uint8]
    digests: NDArray[np.uint8]
    next_id: int
    believed: Ints | None = None
    check: LabelCheck | None = None

    def at(self, rows: Ints) -> Self:
        """The exemplars at int64 [n] rows, numbered from 0 as in an index that is built anew; their embeddings in memory."""
        return replace(
            self,
            embeddings=self.embeddings[rows],
            ids=np.arange(len(rows)),
            labels=self.labels[rows],
            sources=self.sources.take(rows),
            flags=self.flags[rows],
            digests=self.digests[rows],
            believed=None if self.believed is None else self.believed[rows],
        )


@dataclass(frozen=True, eq=False)
class FinishedIndex:
    """An index, measured, that has yet to be written.

    Attributes:
        manifest: what the bundle's will be.
        files: what writes each file, by its name.
        index: itself; `discarded_on_failure` belongs around the writing of it.

    """

    manifest: Manifest
    files: dict[str, Callable[[Path], object]]
    index: StoredRetriever

    @property
    def record(self) -> IndexRecord:
        """What was measured of it."""
        if self.manifest.index is None:
            raise ValueError("the manifest is of a bundle without an index")
        return self.manifest.index


def finish_set(
    bundle: Bundle,
    manifest: Manifest,
    splits: StreamedSplits,
    rows: IndexRows,
    held_out: CalibrationSet,
    *,
    options: IndexOptions,
    first: int = 0,
) -> FinishedIndex:
    """As `finish`, with what needs images: attacked exemplars, and a vote chosen on attacked images.

    Args:
        bundle: has the encoder, and its gradient where that is needed.
        manifest: see `finish`.
        splits: the set; its training part is rows `first` and on, its calibration part the first of `held_out`.
        rows: see `finish`.
        held_out: likewise.
        options: likewise.
        first: of the rows.

    """
    if options.hardening is not None:
        bank, size = StoredBank(rows.embeddings, rows.ids, rows.labels), len(splits.train)
        if first + size != len(rows.labels):
            raise IndexBuildError("hardening needs every image of the set to be readable: remove those that are not")
        steps = len(options.hardening.rows(size)) * options.hardening.steps
        with progress("hardening", steps, quiet=options.quiet) as advance:
            rows.flags[options.hardening.harden(bundle, splits.train, bank, first, advance)] |= np.uint8(Flag.ATTACKED)
    if not options.choose_vote:
        return finish(manifest, rows, held_out, options)
    images = read_all(splits.calibration, np.arange(min(ATTACKED, len(splits.calibration))))
    if not len(images):
        raise IndexBuildError("a vote is chosen on images that are held out, and the set has none that are new")
    known = HeldOut(held_out.embeddings, held_out.labels, ())

    def chosen(index: StoredRetriever, bank: ReadableBank, manifest: Manifest) -> Manifest:
        return with_chosen_vote(manifest, bundle, index, bank, images=images, held_out=known, quiet=options.quiet)

    return finish(manifest, rows, held_out, options, chosen)


def finish(
    manifest: Manifest, rows: IndexRows, held_out: CalibrationSet, options: IndexOptions, choose_vote: VoteChooser | None = None
) -> FinishedIndex:
    """Build the index, see that it finds what there is, flag its exemplars, calibrate.

    Args:
        manifest: of the bundle, with the classes and the vote of this index.
        rows: the exemplars.
        held_out: what credibility is calibrated on.
        options: how.
        choose_vote: where the vote is yet to be chosen.

    Raises:
        IndexBuildError: fewer exemplars than neighbours that vote, a single class, or an exact index that misses some.

    """
    refuse_unvotable(rows.labels, manifest.vote.k)
    counts = np.bincount(rows.labels, minlength=len(manifest.class_names))
    manifest = manifest.model_copy(update={"vote": manifest.vote.corrected(counts, options.prior_correction)})
    if options.half:
        for start in range(0, len(rows.embeddings), BLOCK):
            block = slice(start, start + BLOCK)
            rows.embeddings[block] = rows.embeddings[block].astype(np.float16)
    bank = StoredBank(rows.embeddings, rows.ids, rows.labels)
    if choose_vote is not None:  # by exact search, for which index fits depends on the vote
        manifest = choose_vote(build_retriever(FLAT, bank), bank, manifest)
    chosen = _chosen_index(manifest, bank, held_out, options)
    index = chosen.index
    with discarded_on_failure(index):
        record, flags = _audited(manifest, chosen, bank, options)
        record = record.model_copy(update={"next_id": rows.next_id, "labels": rows.check and rows.check.record})
        calibration = calibrated(index, manifest, held_out, options.coverage)
    known = rows.flags & ~np.uint8(Flag.DISAGREES)
    exemplars = Exemplars(rows.ids, rows.labels, rows.sources, flags | known, rows.digests, rows.believed)
    # What was measured with another index says nothing about this one.
    changes = {"index": record, "calibration": calibration, "uncalibrated": None, "accuracy": None}
    files: dict[str, Callable[[Path], object]] = {**writers_of(index), EXEMPLARS: exemplars.save}
    if len(held_out):
        files[CALIBRATION] = held_out.save
    return FinishedIndex(manifest.model_copy(update=changes), files, index)


def refuse_attacks_on_sound(manifest: Manifest, options: IndexOptions) -> None:
    """Raises IndexBuildError where images are to be attacked and the encoder listens."""
    if manifest.input.kind == "speech" and (options.hardening is not None or options.choose_vote):
        raise IndexBuildError(
            "hardening and choosing a vote change pixels of pictures, which no attacker of sound could: leave them out for an"
            " encoder that listens"
        )


def refuse_unvotable(labels: Ints, k: int) -> None:
    """Raises IndexBuildError where k of these exemplars cannot vote, or there is nothing to vote on."""
    if len(labels) < k:
        raise IndexBuildError(
            f"{len(labels)} exemplars, but the vote asks {k} neighbours: add images, or ask fewer neighbours (holdfast train"
            " --k for an encoder's own set, holdfast index --data ... --k for another)"
        )
    if len(np.unique(labels)) < 2:
        raise IndexBuildError("all exemplars are of one class: there is nothing to vote on; add images of another")


def _chosen_index(manifest: Manifest, bank: ReadableBank, held_out: CalibrationSet, options: IndexOptions) -> IndexChoice:
    """The index, tuned by what its vote answers of the held-out images."""
    classes = len(manifest.class_names)

    def answer(neighbours: Neighbours) -> Ints:
        return vote(neighbours.similarities, neighbours.labels, classes, manifest.vote).labels

    return choose_index(bank, manifest.vote.k, held_out.embeddings, answer, kind=options.kind, half=options.half)


def _audited(
    manifest: Manifest, chosen: IndexChoice, bank: ReadableBank, options: IndexOptions
) -> tuple[IndexRecord, NDArray[np.uint8]]:
    """What was measured of the index, and the flags of each exemplar: uint8 [M]."""
    index, agreement = chosen.index, chosen.agreement
    k, exemplars, exact = manifest.vote.k, len(bank.embeddings), retriever_kind(index.kind).exact
    recall = recall_at_k(index, bank, k, same=SAME if exact else ROUNDED)
    if recall < 1 and exact:
        raise IndexBuildError(f"an exact index found only {recall:.2%} of the {k} nearest exemplars: do not serve it")
    with progress("auditing", exemplars, quiet=options.quiet) as advance:
        classes = len(manifest.class_names)
        if exemplars > EXACT_ROWS:  # also where the index finds faster: a million queries of an inverted file take an hour
            flags = disagreement_flags_by_cells(bank.embeddings, bank.labels, classes=classes, k=k, advance=advance)
        else:
            flags = disagreement_flags(index, bank, classes=classes, k=k, advance=advance)
    record = IndexRecord(
        kind=index.kind,
        exemplars=exemplars,
        recall_at_k=recall,
        disagreement_ratio=float(np.mean(flags != 0)),
        command=options.command,
        parameters=dict(index.parameters),
        vote_agreement=VoteAgreement(alike=agreement.successes, images=agreement.trials) if agreement else None,
        reason=None if options.kind == FLAT else chosen.reason,
    )
    return record, flags
