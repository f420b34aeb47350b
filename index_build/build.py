"""Completing a bundle: embed the labelled set, build the index, audit it, calibrate, commit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

from holdfast.bundle.calibration_set import CalibrationSet
from holdfast.bundle.exemplars import Exemplars, Flag
from holdfast.bundle.manifest import IndexRecord, Manifest
from holdfast.bundle.migrations import FLAT
from holdfast.bundle.reader import CALIBRATION, ENCODER, EXEMPLARS, Bundle
from holdfast.bundle.sources import Sources
from holdfast.bundle.writer import BundleWriter
from holdfast.console import Console, Progress, TextColumn
from holdfast.data import LabelledImages, Splits, load_recorded
from holdfast.errors import BundleError
from holdfast.index_build.attack import STEPS, attack, embedded
from holdfast.index_build.audit import disagreement_flags, recall_at_k
from holdfast.index_build.calibrate import calibrated
from holdfast.index_build.choose import Floats, HeldOut, candidates, choose, surrogates
from holdfast.index_build.harden import Hardening
from holdfast.index_build.resume import PartialEmbeddings
from holdfast.model.answers import Ints
from holdfast.model.credibility import COVERAGE
from holdfast.model.device_choice import DeviceChoice
from holdfast.model.retrieval.base import Bank, Exportable, Retriever
from holdfast.model.retrieval.table import (
    RETRIEVERS,
    StoredRetriever,
    build_retriever,
    check_buildable,
    retriever_kind,
    writers_of,
)

ATTACKED = 300
"""Calibration images that are attacked to choose a vote: votes are compared on the same ones, so a few tell them apart."""


class IndexBuildError(BundleError):
    """The labelled set and the bundle do not make an index."""


def build_index(
    directory: Path,
    splits: Splits | None = None,
    *,
    data_dir: Path | None = None,
    batch_size: int = 256,
    threads: int = 1,
    device: DeviceChoice = "cpu",
    coverage: float = COVERAGE,
    kind: str = FLAT,
    half: bool = False,
    hardening: Hardening | None = None,
    choose_vote: bool = False,
    command: str = "index_build.build_index",
    quiet: bool = False,
) -> IndexRecord:
    """Write index and exemplars' table into a bundle, calibrate it, and record what was measured in its manifest.

    Exemplars are the training part of the set that the manifest names; nothing of the bundle changes before everything
    has been measured. A run that was cut short continues where it was.

    Args:
        directory: a bundle that has its encoder.
        splits: the labelled set; read by the manifest's data record where it is not given. Its hash is checked.
        data_dir: where the set lies, if not where the trainer found it.
        batch_size: images embedded at once.
        threads: of ONNX Runtime.
        device: where images are embedded and gradients taken; "auto" takes the GPU if it can, and says what it took. The index,
            which is verified, stays on the CPU.
        coverage: the least share of calibration images that the served vote answers, in (0, 1].
        kind: of the index; one of holdfast.model.retrieval.table.RETRIEVERS.
        half: round embeddings to float16: half the file, and similarities that move by less than 5e-4.
        hardening: put attacked images in the place of some exemplars; see `index_build.harden`. It needs gradient.onnx.
        choose_vote: take the number of neighbours and the temperature that do best on the calibration part, clean and
            attacked, instead of the trainer's; see `index_build.choose`. It needs gradient.onnx.
        command: what the user typed, for the manifest.
        quiet: no progress bars.

    Raises:
        IndexBuildError: another set than the encoder's, fewer exemplars than the vote asks, a single class.
        BundleError, DataError: the bundle or the set cannot be read.
        DeviceError: "cuda", and the GPU cannot be used.

    """
    if not 0 < coverage <= 1 or batch_size < 1:
        raise IndexBuildError(f"coverage must be in (0, 1] and batch size at least 1, not {coverage} and {batch_size}")
    check_buildable(kind, half=half)
    bundle = Bundle.open_encoder(directory, threads=threads, device=device, max_batch=batch_size)
    splits = splits if splits is not None else load_recorded(bundle.manifest, data_dir)
    _check(bundle.manifest, splits)
    if choose_vote and len(splits.calibration) == 0:
        raise IndexBuildError("a vote is chosen on the calibration part, and this set has none: train with --calibration N")
    if choose_vote or hardening:
        _ = bundle.gradient  # opened now, so that what is wrong with it is said now
    if device != "cpu" and not quiet:
        Console(stderr=True, soft_wrap=True).print(f"embedding on {bundle.placement}", markup=False, highlight=False)
    train = splits.train
    parts = PartialEmbeddings(directory, bundle.manifest.files[ENCODER], train.images, bundle.placement)
    with _progress("embedding", len(train), quiet=quiet) as advance:
        embeddings = parts.embed(bundle.encoder, batch_size, advance)
    embeddings, attacked = _hardened(bundle, train, embeddings, hardening, quiet=quiet)
    bank = Bank(embeddings, np.arange(len(train)), train.labels)
    index = build_retriever(kind, bank, half=half)
    if isinstance(index, Exportable):
        bank = index.export()  # as rounded
    held_out = embedded(bundle, splits.calibration.images, batch_size)
    manifest = bundle.manifest
    if choose_vote:
        manifest = _with_chosen_vote(bundle, index, bank, splits, held_out, quiet=quiet)
    record, flags = _audited(manifest, index, bank, command, quiet=quiet)
    held = CalibrationSet(held_out, splits.calibration.labels, tuple(splits.calibration.sources))
    calibration = calibrated(index, manifest, held, coverage)
    flags[attacked] |= np.uint8(Flag.ATTACKED)
    exemplars = Exemplars(bank.ids, train.labels, Sources.of(train.sources), flags)
    # What was measured with another index says nothing about this one.
    completed = manifest.model_copy(
        update={"index": record, "calibration": calibration, "uncalibrated": None, "accuracy": None}
    )
    files: dict[str, Callable[[Path], object]] = {**writers_of(index), EXEMPLARS: exemplars.save}
    if len(held):
        files[CALIBRATION] = held.save
    _commit(directory, bundle.manifest, completed, files)
    parts.remove()
    return record


def _hardened(
    bundle: Bundle, train: LabelledImages, embeddings: Floats, hardening: Hardening | None, *, quiet: bool
) -> tuple[Floats, Ints]:
    """The embeddings float32 [M, D], some of them of attacked images, and which: int64 [n]. Without hardening, as they were."""
    if hardening is None:
        return embeddings, np.zeros(0, np.int64)
    attacked = hardening.rows(len(train))
    with _progress("hardening", len(attacked) * hardening.steps, quiet=quiet) as advance:
        return hardening.harden(bundle, train, embeddings, advance), attacked


def _check(manifest: Manifest, splits: Splits) -> None:
    record, train, k = manifest.training.data, splits.train, manifest.vote.k
    if splits.sha256 != record.sha256:
        raise IndexBuildError(
            f"this is not the {record.name} set the encoder was trained with: sha256 {splits.sha256}, the manifest says "
            f"{record.sha256}. Point --data-dir to that set, or train again with holdfast train"
        )
    if splits.class_names != manifest.class_names:
        raise IndexBuildError(
            f"the set has the classes {', '.join(splits.class_names)}; the manifest {', '.join(manifest.class_names)}"
        )
    if train.images.shape[1:] != manifest.input.shape:
        raise IndexBuildError(f"images are {train.images.shape[1:]}, the encoder takes {manifest.input.shape}")
    if len(train) < k:
        raise IndexBuildError(
            f"{len(train)} exemplars, but the vote asks {k} neighbours: add images, or train with a smaller k"
        )
    if len(np.unique(train.labels)) < 2:
        raise IndexBuildError("all exemplars are of one class: there is nothing to vote on; add images of another")


def _audited(
    manifest: Manifest, index: StoredRetriever, bank: Bank, command: str, *, quiet: bool
) -> tuple[IndexRecord, NDArray[np.uint8]]:
    """What was measured of the index, and the flags of each exemplar: uint8 [M]."""
    k, exemplars = manifest.vote.k, len(bank.embeddings)
    recall = recall_at_k(index, bank.embeddings, k)
    if recall < 1 and retriever_kind(index.kind).exact:
        raise IndexBuildError(f"an exact index found only {recall:.2%} of the {k} nearest exemplars: do not serve it")
    with _progress("auditing", exemplars, quiet=quiet) as advance:
        classes = len(manifest.class_names)
        flags = disagreement_flags(index, bank.embeddings, bank.labels, classes=classes, k=k, advance=advance)
    disagreement = float(np.mean(flags != 0))
    record = IndexRecord(
        kind=index.kind,
        exemplars=exemplars,
        recall_at_k=recall,
        disagreement_ratio=disagreement,
        command=command,
        parameters=dict(index.parameters),
    )
    return record, flags


def _commit(directory: Path, before: Manifest, after: Manifest, files: dict[str, Callable[[Path], object]]) -> None:
    """Write files and manifest; after a failure no file is left that the manifest does not name."""
    writer = BundleWriter.open(directory)
    try:
        for name, write in files.items():
            writer.add(name, write)
        for name in {CALIBRATION, *(name for kind in RETRIEVERS.values() for name in kind.files)} - files.keys():
            writer.drop(name)  # of an index of another kind, which this one replaces
        writer.commit(after)
    except BaseException:
        for name in files.keys() - before.files.keys():
            (directory / name).unlink(missing_ok=True)
        raise


def _with_chosen_vote(
    bundle: Bundle, index: Retriever, bank: Bank, splits: Splits, held_out: Floats, *, quiet: bool
) -> Manifest:
    manifest, part = bundle.manifest, splits.calibration
    classes, threat = len(manifest.class_names), manifest.threat_model.model()
    soft = surrogates(bank, classes)
    images, labels = part.images[:ATTACKED], part.labels[:ATTACKED]
    with _progress("attacking", len(images) * len(soft) * STEPS, quiet=quiet) as advance:
        attacked = tuple(embedded(bundle, attack(bundle, images, labels, each, threat, advance=advance)) for each in soft)
    tried = candidates(index, soft, HeldOut(held_out, part.labels, attacked), classes)
    best = choose(tried).parameters
    # The surrogate is the likest the vote at the vote's own temperature: that is how it was chosen.
    return manifest.model_copy(update={"vote": best, "surrogate_tau": best.temperature})


@contextmanager
def _progress(name: str, total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as progress:
        task = progress.add_task(name, total=total)
        yield lambda images: progress.advance(task, images)
