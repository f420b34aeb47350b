"""Making a new bundle of another set, or of the exemplars that are there: `holdfast index BUNDLE --data ... --out NEW`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from holdfast.bundle.beside import BundleBeside, adopt_files, bundle_beside, refuse_taken
from holdfast.bundle.exemplars import Flag
from holdfast.bundle.manifest import IndexedSet, IndexRecord, Manifest
from holdfast.bundle.reader import CALIBRATION, EXEMPLARS, HEAD, Bundle, read_manifest
from holdfast.console import Console
from holdfast.data.sets import NAMES
from holdfast.data.streamed import StreamedSplits, open_labelled
from holdfast.index_build.adapting.adaptation import Adaptation, IndexChanges, NewSet
from holdfast.index_build.build import ROWS_FILE, index_files, job_of, open_for
from holdfast.index_build.calibrate import calibrated_by_leaving_out
from holdfast.index_build.canary import add_canary, keep_canary
from holdfast.index_build.finish import FinishedIndex, IndexRows, finish, finish_set, refuse_attacks_on_sound
from holdfast.index_build.labels.checking import checked_labels, leave_list
from holdfast.index_build.options import IndexBuildError, IndexOptions
from holdfast.index_build.streaming.embedding_file import BLOCK, EmbeddingFile
from holdfast.index_build.streaming.gather import EmbeddedSet, describe_faults, gather, refuse_unreadable
from holdfast.index_build.streaming.parts import PartsFolder, RowRange
from holdfast.index_build.streaming.run import embed_missing, header_of, pieces_in
from holdfast.index_build.temperature import with_fitted_temperature
from holdfast.model.preprocess import MAX_PIXELS, InputContract
from holdfast.model.retrieval.base import Reconstructing, Retriever, bank_of
from holdfast.model.retrieval.embeddings import StoredBank
from holdfast.model.retrieval.table import discarded_on_failure

REPORT = "report/"

Parts = Sequence[tuple[PartsFolder, Sequence[RowRange]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class SetOptions:
    """Which labelled set, and how it is held apart.

    Args:
        data: a folder of class folders, a .csv or .parquet table, or the name of a built-in set.
        directory: where a built-in set lies.
        calibration: images held out for credibility: a number, or a share of those that are not kept for an evaluation. By
            default 1,000, or a tenth where there are fewer.
        seed: of the draws.
        skip_unreadable: leave out images that cannot be read, instead of refusing the set.
        max_pixels: the largest width x height that is decoded.
        few_shot: make an exemplar of every image that the set does not hold out itself, and calibrate by leaving out each once.

    """

    data: str
    directory: Path | None = None
    calibration: float | None = None
    seed: int = 0
    skip_unreadable: bool = False
    max_pixels: int = MAX_PIXELS
    few_shot: bool = False

    @property
    def path(self) -> str:
        """A built-in set's name, or an absolute path."""
        return self.data if self.data in NAMES else str(Path(self.data).resolve())

    def open(self, contract: InputContract, *, quiet: bool) -> NewSet:
        """The set, split.

        Raises:
            DataError: there is no such set, or it cannot be used as it lies.
            IndexBuildError: a share or number to hold out that means nothing.

        """
        held = self.calibration
        if self.few_shot and (held is not None or self.data in NAMES or contract.kind != "image"):
            raise IndexBuildError(
                "--few-shot is for folders and tables of images, and holds nothing out: leave --calibration away"
            )
        if held is not None and (held < 0 or (held >= 1 and held != int(held))):
            raise IndexBuildError(f"--calibration takes a share below 1 or a number of images, not {held:g}")
        splits = self._opened(contract, None if held is None or 0 < held < 1 else int(held), quiet=quiet)
        if held is not None and 0 < held < 1:
            splits = self._opened(contract, round(held * splits.drawn_from), quiet=True)
        record = IndexedSet(
            data=self.path,
            directory=None if self.directory is None else str(self.directory.resolve()),
            sha256="",
            test_sha256="",
            test_images=len(splits.test),
            calibration=splits.drawn_calibration,
            seed=self.seed,
            max_pixels=self.max_pixels,
            few_shot=self.few_shot,
        )
        return NewSet(splits, record)

    def _opened(self, contract: InputContract, calibration: int | None, *, quiet: bool) -> StreamedSplits:
        return open_labelled(
            self.data,
            contract,
            directory=self.directory,
            calibration=calibration,
            seed=self.seed,
            skip_unreadable=self.skip_unreadable,
            max_pixels=self.max_pixels,
            few_shot=self.few_shot,
            quiet=quiet,
        )


def adapt_index(
    directory: Path, out: Path, chosen: SetOptions | None, changes: IndexChanges, options: IndexOptions
) -> Manifest:
    """Write a new bundle: the encoder of an old one, and an index of another set, of both, or of what is there.

    The old bundle stays as it is. A run that was cut short continues where it was.

    Args:
        directory: the old bundle; complete, where its exemplars are kept.
        out: where the new one will be.
        chosen: the set that comes in; None keeps the exemplars that are there.
        changes: of classes and vote, and whether exemplars of before are kept beside the new ones.
        options: of the index.

    Raises:
        IndexBuildError, ClassError: what was asked makes no index.
        BundleError, DataError: a bundle or a set cannot be read, or there is something at `out`.
        DeviceError: "cuda", and the GPU cannot be used.

    """
    options = options.checked()
    if chosen is None and (options.hardening or options.choose_vote):
        raise IndexBuildError("hardening and choosing a vote attack images: name the set that they are of by --data")
    keeps = chosen is None or changes.merge
    with bundle_beside(directory, out) as beside:
        bundle = open_bundle(directory, options, keeps=keeps)
        new = None if chosen is None else chosen.open(bundle.manifest.input, quiet=options.quiet)
        adaptation = Adaptation(bundle, changes, new)
        plan = adaptation.plan(options.prior_correction)
        if not options.quiet:
            Console(stderr=True).print(plan.table(f"{out}: what goes into it"))
        parts: Parts = ()
        if new is not None and chosen is not None:
            folder = PartsFolder.begin(beside.work / "parts", header_of(bundle, new.splits, half=options.half))
            pieces = pieces_in(new.splits)
            embed_missing(folder, job_of(bundle, new.splits, options), pieces, options.launcher, quiet=options.quiet)
            if not chosen.skip_unreadable:
                refuse_unreadable(folder, pieces)
            parts = [(folder, pieces)]
        return publish(beside, adaptation, parts, options)


def publish(beside: BundleBeside, adaptation: Adaptation, parts: Parts, options: IndexOptions) -> Manifest:
    """From embedded parts to the new bundle.

    Args:
        beside: the new bundle's place.
        adaptation: what becomes of the index.
        parts: all parts of the set that comes in; none where there is none.
        options: of the index.

    """
    bundle = adaptation.bundle
    file = EmbeddingFile(beside.work / ROWS_FILE, bundle.encoder.dim)
    if adaptation.keeps:
        _append_kept(file, bundle)
    embedded = gather(parts, file, adaptation.known(file)) if parts else None
    if embedded is not None and not options.quiet:
        _say_what_is_left_out(embedded)
    rows, manifest = _checked_rows(adaptation, file, embedded, options)
    finished = _finished(adaptation, rows, manifest, embedded, options)
    if adaptation.leaves_out and finished.manifest.calibration is None:
        finished = _calibrated_by_leaving_out(finished, rows, options)
    record = finished.record.model_copy(update=adaptation.recorded(embedded))
    with discarded_on_failure(finished.index):
        directory = _write(beside, bundle, finished, record)
        leave_list(directory, rows)
        _give_canary(directory, adaptation, options.canary, finished.index)
        refuse_taken(beside.out)
    beside.publish()
    return read_manifest(beside.out)


def _say_what_is_left_out(embedded: EmbeddedSet) -> None:
    if embedded.faults:
        Console(stderr=True).print(f"left out: {describe_faults(embedded.faults)}")
    if count := len(embedded.already_there.train):
        otherwise = embedded.already_there.labelled_otherwise
        more = f", of which {otherwise:,} under another label, which they keep" if otherwise else ""
        Console(stderr=True).print(f"left out, as they are exemplars already: {count:,} images{more}")


def _append_kept(file: EmbeddingFile, bundle: Bundle) -> None:
    """The embeddings of the exemplars that are there, without a second copy of them in memory where the index can do that."""
    ids = bundle.exemplars.ids
    if not isinstance(bundle.index, Reconstructing):
        file.append(bank_of(bundle.index).embeddings)
        return
    for start in range(0, len(ids), BLOCK):
        file.append(bundle.index.reconstruct(ids[start : start + BLOCK]))


def _write(beside: BundleBeside, bundle: Bundle, finished: FinishedIndex, record: IndexRecord) -> Path:
    """The new bundle, complete but for its canary, where it is not yet seen."""
    writer = beside.writer()
    replaced = {*index_files(), EXEMPLARS, *(name for name in bundle.manifest.files if name.startswith(REPORT))}
    if finished.manifest.class_names != bundle.class_names:
        replaced.add(HEAD)  # which tells the classes of the training apart, in their order
    adopt_files(writer, bundle, without=replaced)
    for name, write in finished.files.items():
        writer.add(name, write)
    writer.commit(finished.manifest.model_copy(update={"index": record, "name": beside.out.name}))
    return writer.directory


def _give_canary(directory: Path, adaptation: Adaptation, count: int, index: Retriever) -> None:
    """Of the test part of the set that comes in; of the exemplars that are there, the canary that was there."""
    if not count:
        return
    if adaptation.test is not None:
        add_canary(directory, adaptation.test, count, index=index)
    elif (before := adaptation.bundle.canary_set) is not None:
        keep_canary(directory, before, adaptation.old_labels[before.labels], index=index)


def _checked_rows(
    adaptation: Adaptation, file: EmbeddingFile, embedded: EmbeddedSet | None, options: IndexOptions
) -> tuple[IndexRows, Manifest]:
    """The exemplars with the labels that are wanted, and the manifest with their classes and vote."""
    rows = adaptation.rows(file, embedded)
    manifest = adaptation.manifest(adaptation.k_for(np.bincount(rows.labels, minlength=len(adaptation.class_names))))
    return checked_labels(rows, manifest, options), manifest


def _finished(
    adaptation: Adaptation, rows: IndexRows, manifest: Manifest, embedded: EmbeddedSet | None, options: IndexOptions
) -> FinishedIndex:
    held_out = adaptation.held_out(None if embedded is None else embedded.held_out)
    if adaptation.new is None or embedded is None or not (options.hardening or options.choose_vote):
        finished = finish(manifest, rows, held_out, options)
        if adaptation.new is None and manifest.vote.k == adaptation.bundle.manifest.vote.k:
            return finished
        return with_fitted_temperature(finished, StoredBank(rows.embeddings, rows.ids, rows.labels), held_out)
    first, splits = len(rows.labels) - len(embedded.labels), adaptation.splits_added(embedded)
    return finish_set(adaptation.bundle, manifest, splits, rows, held_out, options=options, first=first)


def _calibrated_by_leaving_out(finished: FinishedIndex, rows: IndexRows, options: IndexOptions) -> FinishedIndex:
    bank, attacked = StoredBank(rows.embeddings, rows.ids, rows.labels), rows.flags & Flag.ATTACKED > 0
    calibration = calibrated_by_leaving_out(finished.index, finished.manifest, bank, attacked, options.coverage)
    return replace(finished, manifest=finished.manifest.model_copy(update={"calibration": calibration}))


def open_bundle(directory: Path, options: IndexOptions, *, keeps: bool) -> Bundle:
    """The old bundle: complete where its exemplars are kept; else its encoder is all it takes."""
    if not keeps:
        return open_for(directory, options)
    bundle = Bundle.open(directory, threads=options.threads, device=options.device, max_batch=options.batch_size)
    refuse_attacks_on_sound(bundle.manifest, options)
    if CALIBRATION not in bundle.manifest.files and not options.quiet:
        Console(stderr=True).print(
            f"{directory} keeps no held-out images: credibility rests on those of the new set alone, or on none; for its own as"
            f" well, run holdfast index {directory} --recalibrate first"
        )
    return bundle
