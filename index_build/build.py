"""Completing a bundle: embed the labelled set that its encoder was trained with, build the index, audit, calibrate, commit."""

from pathlib import Path

import numpy as np

from holdfast.bundle.manifest import IndexRecord, Manifest
from holdfast.bundle.migrations import FLAT
from holdfast.bundle.reader import CALIBRATION, CANARY, Bundle, read_manifest
from holdfast.bundle.writer import BundleWriter
from holdfast.console import Console
from holdfast.data import Splits
from holdfast.data.recorded import open_recorded
from holdfast.data.sources import LabelledSource, StreamedArrays
from holdfast.data.streamed import StreamedSplits
from holdfast.data.streaming.training import ImagePart, StreamedPart, StreamedTraining, TrainingSplits
from holdfast.index_build.canary import add_canary
from holdfast.index_build.finish import FinishedIndex, IndexRows, finish_set, refuse_attacks_on_sound, refuse_unvotable
from holdfast.index_build.harden import Hardening
from holdfast.index_build.labels.checking import beliefs_about, checked_labels, leave_list
from holdfast.index_build.labels.pseudo import confirmed, with_candidates
from holdfast.index_build.options import IndexBuildError, IndexOptions, LabelChoice, Treatment
from holdfast.index_build.plan import IndexPlan
from holdfast.index_build.streaming.embedding import EmbeddingJob
from holdfast.index_build.streaming.embedding_file import EmbeddingFile
from holdfast.index_build.streaming.gather import EmbeddedSet, gather, refuse_unreadable
from holdfast.index_build.streaming.parts import PartsFolder
from holdfast.index_build.streaming.run import embed_missing, header_of, pieces_in
from holdfast.model.device_choice import DeviceChoice
from holdfast.model.preprocess import InputContract
from holdfast.model.retrieval.table import RETRIEVERS, discarded_on_failure

FOLDER = ".index_build"
ROWS_FILE = "embeddings.f32"


def build_index(
    directory: Path,
    splits: Splits | None = None,
    *,
    data_dir: Path | None = None,
    batch_size: int = 256,
    threads: int = 1,
    device: DeviceChoice = "cpu",
    coverage: float | None = None,
    kind: str = FLAT,
    half: bool = False,
    hardening: Hardening | None = None,
    choose_vote: bool = False,
    prior_correction: float | None = None,
    canary: int = 0,
    labels: LabelChoice = "given",
    doubted: Treatment = "relabel",
    pseudo: float | None = None,
    command: str = "index_build.build_index",
    quiet: bool = False,
) -> IndexRecord:
    """Write index and exemplars' table into a bundle, calibrate it, and record what was measured in its manifest.

    Exemplars are the labelled training part of the set that the manifest names; nothing of the bundle changes before everything
    has been measured. A run that was cut short continues where it was.

    Args:
        directory: a bundle that has its encoder.
        splits: the labelled set; read by the manifest's data record where it is not given. Its hash is checked.
        data_dir: where the set lies, if not where the trainer found it.
        batch_size: see `IndexOptions`, as all that follow.
        threads: likewise.
        device: likewise.
        coverage: likewise.
        kind: likewise.
        half: likewise.
        hardening: likewise.
        choose_vote: likewise.
        prior_correction: likewise.
        canary: likewise.
        labels: likewise.
        doubted: likewise.
        pseudo: likewise.
        command: likewise.
        quiet: likewise.

    Raises:
        IndexBuildError: another set than the encoder's, fewer exemplars than the vote asks, a single class.
        BundleError, DataError: the bundle or the set cannot be read.
        DeviceError: "cuda", and the GPU cannot be used.

    """
    options = IndexOptions(
        batch_size=batch_size,
        threads=threads,
        device=device,
        coverage=coverage,
        kind=kind,
        half=half,
        hardening=hardening,
        choose_vote=choose_vote,
        prior_correction=prior_correction,
        canary=canary,
        labels=labels,
        doubted=doubted,
        pseudo=pseudo,
        command=command,
        quiet=quiet,
    )
    return complete_bundle(directory, splits, options, data_dir=data_dir)


def complete_bundle(
    directory: Path, splits: TrainingSplits | None, options: IndexOptions, *, data_dir: Path | None = None
) -> IndexRecord:
    """As `build_index`, which explains the arguments."""
    options = options.checked()
    bundle = open_for(directory, options)
    if (index := bundle.manifest.index) is not None and (index.data is not None or index.renamed):
        raise IndexBuildError(
            f"the exemplars of {directory} are not of its encoder's set, or have other classes: name a set by --data, or say"
            " --out NEW for a new bundle of the exemplars that are there"
        )
    splits = _opened(bundle, splits, options, data_dir)
    contract, known, content = bundle.manifest.input, len(splits.train), splits.sha256
    beliefs = beliefs_about(directory, splits, quiet=options.quiet)
    if options.pseudo is not None:
        splits, content = with_candidates(directory, splits, options.pseudo)
    train, held_out, test = (source_of(part, contract) for part in (splits.train, splits.calibration, splits.test))
    streamed = StreamedSplits(train, held_out, test.select(np.zeros(0, np.int64)))  # the set's own hash covers the test images
    folder = PartsFolder.begin(directory / FOLDER, header_of(bundle, streamed, half=options.half, content=content))
    pieces = pieces_in(streamed)
    embed_missing(folder, job_of(bundle, streamed, options), pieces, options.launcher, quiet=options.quiet)
    file = EmbeddingFile(folder.path / ROWS_FILE, bundle.encoder.dim)
    refuse_unreadable(folder, pieces)  # what could be read when it was trained on
    embedded = gather([(folder, pieces)], file)
    rows = _rows(bundle, file, embedded)
    if options.pseudo is not None:
        rows, streamed = confirmed(rows, streamed, known, bundle.manifest)
    rows = checked_labels(rows, bundle.manifest, options, beliefs)
    finished = finish_set(bundle, bundle.manifest, streamed, rows, embedded.held_out, options=options)
    with discarded_on_failure(finished.index):
        record = _commit(directory, finished)
    leave_list(directory, rows)
    if options.canary and len(splits.test):
        add_canary(directory, test, options.canary, index=finished.index)
    folder.remove()
    return record


def _opened(bundle: Bundle, splits: TrainingSplits | None, options: IndexOptions, data_dir: Path | None) -> TrainingSplits:
    """The set, opened where it is not, checked, and described."""
    if splits is None:
        splits = open_recorded(bundle.manifest, data_dir, memory=options.memory, threads=options.threads)
    if isinstance(splits, StreamedTraining):
        splits.close()  # what embeds reads the images itself
    _check(bundle.manifest, splits)
    if options.choose_vote and len(splits.calibration) == 0:
        raise IndexBuildError("a vote is chosen on the calibration part, and this set has none: train with --calibration N")
    if not options.quiet:
        plan = _plan(bundle.manifest, splits, options)
        Console(stderr=True).print(plan.table(f"{bundle.directory}: what its index will be of"))
    return splits


def _rows(bundle: Bundle, file: EmbeddingFile, embedded: EmbeddedSet) -> IndexRows:
    """A set's images as exemplars, numbered from 0."""
    count, before = len(embedded.labels), bundle.manifest.index
    return IndexRows(
        file,
        np.arange(count),
        embedded.labels,
        embedded.sources,
        flags=np.zeros(count, dtype=np.uint8),
        digests=embedded.digests,
        next_id=max(count, before.next_id or 0) if before else count,
    )


def source_of(part: ImagePart, contract: InputContract) -> LabelledSource:
    """A part of a set as it is embedded."""
    return part.source if isinstance(part, StreamedPart) else StreamedArrays(part, contract)


def open_for(directory: Path, options: IndexOptions) -> Bundle:
    """The bundle, opened to embed as the options say; what is wrong with it is said now, not after hours."""
    bundle = Bundle.open_encoder(directory, threads=options.threads, device=options.device, max_batch=options.batch_size)
    refuse_attacks_on_sound(bundle.manifest, options)
    if options.choose_vote or options.hardening:
        _ = bundle.gradient
    if options.device != "cpu" and not options.quiet:
        Console(stderr=True, soft_wrap=True).print(f"embedding on {bundle.placement}", markup=False, highlight=False)
    return bundle


def job_of(bundle: Bundle, splits: StreamedSplits, options: IndexOptions) -> EmbeddingJob:
    """What embeds a piece of the set."""
    return EmbeddingJob(
        bundle.directory,
        splits,
        bundle.encoder.dim,
        batch_size=options.batch_size,
        threads=options.threads,
        device=options.device,
        half=options.half,
        opened=bundle,
    )


def _plan(manifest: Manifest, splits: TrainingSplits, options: IndexOptions) -> IndexPlan:
    """Classes, counts and vote. With `choose_vote` the vote is the one of before."""
    size = len(manifest.class_names)
    parts = (splits.train, splits.calibration, splits.test)
    train, held_out, test = (np.bincount(part.labels, minlength=size) for part in parts)
    vote = manifest.vote.corrected(train, options.prior_correction)
    return IndexPlan(manifest.class_names, np.zeros(size, np.int64), train, held_out, test, vote)


def _check(manifest: Manifest, splits: TrainingSplits) -> None:
    record, train = manifest.trained.data, splits.train
    if splits.sha256 != record.sha256:
        raise IndexBuildError(
            f"this is not the {record.name} set the encoder was trained with: sha256 {splits.sha256}, the manifest says "
            f"{record.sha256}. Point --data-dir to that set, name this one by --data for a new bundle, or train again with"
            " holdfast train"
        )
    if splits.class_names != manifest.class_names:
        raise IndexBuildError(
            f"the set has the classes {', '.join(splits.class_names)}; the manifest {', '.join(manifest.class_names)}"
        )
    shape = train.source.contract.shape if isinstance(train, StreamedPart) else train.images.shape[1:]
    if shape != manifest.input.shape:
        raise IndexBuildError(f"images are {shape}, the encoder takes {manifest.input.shape}")
    refuse_unvotable(train.labels, manifest.vote.k)


def _commit(directory: Path, finished: FinishedIndex) -> IndexRecord:
    """Write files and manifest; after a failure no file is left that the manifest does not name."""
    writer = BundleWriter.open(directory)
    try:
        for name, write in finished.files.items():
            writer.add(name, write)
        for name in index_files() - finished.files.keys():
            writer.drop(name)  # of an index of another kind, which this one replaces
        writer.commit(finished.manifest)
    except BaseException:
        for name in finished.files.keys() - read_manifest(directory).files.keys():  # which is the new one once it has its name
            (directory / name).unlink(missing_ok=True)
        raise
    return finished.record


def index_files() -> set[str]:
    """Every file that some kind of index has, beside the exemplars' table."""
    return {CALIBRATION, CANARY, *(name for kind in RETRIEVERS.values() for name in kind.files)}
