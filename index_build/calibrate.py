"""Calibrating the credibility of an index, when it is built and again: `holdfast index BUNDLE --recalibrate`."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.calibration_set import CalibrationSet
from holdfast.bundle.exemplars import Flag
from holdfast.bundle.manifest import Manifest
from holdfast.bundle.reader import CALIBRATION, Bundle
from holdfast.bundle.writer import BundleWriter
from holdfast.data import load_verified
from holdfast.errors import BundleError
from holdfast.index_build.attack import embedded
from holdfast.model.credibility import Calibration, calibrate_left_out, calibrate_retriever, wanted_coverage
from holdfast.model.retrieval.base import Bank, Retriever, bank_of
from holdfast.model.retrieval.embeddings import ReadableBank

LEFT_OUT = 1000
"""Exemplars that are left out, each once, at most."""


def calibrated_by_leaving_out(
    index: Retriever, manifest: Manifest, bank: ReadableBank, attacked: NDArray[np.bool_], coverage: float | None
) -> Calibration:
    """As `calibrated`, by exemplars that are each left out once: LEFT_OUT at most, spread over all that were not `attacked`."""
    asked = np.flatnonzero(~attacked)
    asked = asked[np.unique(np.linspace(0, len(asked) - 1, min(len(asked), LEFT_OUT)).astype(np.int64))]
    own = Bank(bank.embeddings[asked], bank.ids[asked], bank.labels[asked])
    if coverage is None:
        coverage = wanted_coverage(manifest.calibration)
    return calibrate_left_out(index, manifest.vote, own, classes=len(manifest.class_names), coverage=coverage)


def calibrated(index: Retriever, manifest: Manifest, held_out: CalibrationSet, coverage: float | None) -> Calibration | None:
    """Credibility of this index and the manifest's vote; None where no image is held out.

    Without a `coverage` it is what was asked of the bundle before, else COVERAGE. Who speaks may be none of the classes, so an
    index of speech gets a threshold for that as well.
    """
    if len(held_out) == 0:
        return None
    if coverage is None:
        coverage = wanted_coverage(manifest.calibration)
    classes = len(manifest.class_names)
    return calibrate_retriever(
        index,
        manifest.vote,
        held_out.embeddings,
        held_out.labels,
        classes=classes,
        coverage=coverage,
        open_set=manifest.input.kind == "speech",
    )


def recalibrate(
    directory: Path,
    *,
    data_dir: Path | None = None,
    threads: int = 1,
    batch_size: int = 256,
    coverage: float | None = None,
) -> Manifest:
    """Calibrate a complete bundle again, by its own index and vote; nothing else of it changes.

    The held-out images are those of calibration.npz. Where there is none yet, they are read from the set that the manifest
    names and embedded, and calibration.npz is written. Where exemplars were left out in their place, they are again.

    Args:
        directory: a complete bundle.
        data_dir: where the set lies, if not where the trainer found it.
        threads: of ONNX Runtime.
        batch_size: images embedded at once.
        coverage: the least share of images to be answered, in (0, 1]; by default what was asked before.

    Returns:
        The manifest as written.

    Raises:
        BundleError: the bundle cannot be opened, its set has no calibration part, or it is another set than the encoder's.
        DataError: the set cannot be read.

    """
    if (coverage is not None and not 0 < coverage <= 1) or batch_size < 1:
        raise BundleError(f"coverage must be in (0, 1] and batch size at least 1, not {coverage} and {batch_size}")
    bundle = Bundle.open(directory, threads=threads)
    writer = BundleWriter.open(directory)
    before = bundle.manifest.calibration
    if before is not None and before.left_out is not None:
        attacked = bundle.exemplars.flags & Flag.ATTACKED > 0
        again = calibrated_by_leaving_out(bundle.index, bundle.manifest, bank_of(bundle.index), attacked, coverage)
        return writer.commit(bundle.manifest.model_copy(update={"calibration": again, "uncalibrated": None}))
    if CALIBRATION in bundle.manifest.files:
        held_out = bundle.calibration_set
    else:
        held_out = _embedded(bundle, data_dir, batch_size)
        writer.add(CALIBRATION, held_out.save)
    calibration = calibrated(bundle.index, bundle.manifest, held_out, coverage)
    return writer.commit(bundle.manifest.model_copy(update={"calibration": calibration, "uncalibrated": None}))


def _embedded(bundle: Bundle, data_dir: Path | None, batch_size: int) -> CalibrationSet:
    held = load_verified(bundle.manifest, data_dir).calibration
    if len(held) == 0:
        raise BundleError(f"the set of {bundle.directory} has no calibration part: train or index with --calibration N")
    return CalibrationSet(embedded(bundle, held.images, batch_size), held.labels, tuple(held.sources))
