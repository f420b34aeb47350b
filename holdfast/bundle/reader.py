"""Opening bundles. No other package reads one."""

import logging
from functools import cached_property, partial
from pathlib import Path
from typing import Self

import numpy as np

from holdfast.bundle.calibration_set import CalibrationSet
from holdfast.bundle.canary_set import CanarySet
from holdfast.bundle.exemplars import Exemplars
from holdfast.bundle.manifest import MOST_BYTES, Manifest
from holdfast.bundle.verification import bounded_memory, verify_files
from holdfast.errors import ContractMismatchError, MissingFileError, SchemaMismatchError
from holdfast.model.classifier import Classifier
from holdfast.model.device_choice import DeviceChoice, Precision
from holdfast.model.encoder.agreement import refuse_disagreement
from holdfast.model.encoder.bucketed import BucketedEncoder
from holdfast.model.encoder.device import CPU, Device, Placement, place
from holdfast.model.encoder.onnx import OnnxEncoder, OnnxGradient
from holdfast.model.judgement.head import ClassifierHead
from holdfast.model.retrieval.base import ID_BITS, SPARE, Retriever, Summarised
from holdfast.model.retrieval.shared import SharedRetriever
from holdfast.model.retrieval.table import open_retriever
from holdfast.waiting import waiting

MANIFEST = "manifest.json"
ENCODER = "encoder.onnx"
ENCODER_FLOAT16 = "encoder_float16.onnx"
GRADIENT = "gradient.onnx"
WEIGHTS = "weights.bin"
EXEMPLARS = "exemplars.npz"
CALIBRATION = "calibration.npz"
CANARY = "canary.npz"
HEAD = "classifier.npz"
TRAINING_LOG = "log.csv"
"""What training measured, a line every few steps: no file of the manifest, for bundles are copied without it."""

log = logging.getLogger(__name__)

MAX_BATCH = 64
"""Images that a GPU embeds at once, unless somebody says otherwise."""


def read_manifest(directory: Path) -> Manifest:
    """Read a bundle's manifest, without touching its other files.

    Raises:
        MissingFileError: no such directory, or no manifest in it.
        SchemaMismatchError: another schema version, or a manifest that does not follow its schema.

    """
    path = directory / MANIFEST
    if not path.is_file():
        raise MissingFileError(f"{directory} is not a bundle: it has no {MANIFEST}; make one with holdfast train")
    if (size := path.stat().st_size) > MOST_BYTES:
        raise SchemaMismatchError(f"{path} is {size} bytes long; a manifest has {MOST_BYTES} at most: make the bundle again")
    return Manifest.from_json(path.read_bytes(), str(path))


class Bundle:
    """A verified bundle: every file has the hash of the manifest, and the parts fit each other.

    `open` wants a complete bundle, ready to serve. `open_encoder` is for the index builder, before there is an index.
    `placement` says where encoder and index run, and in what the encoder computes. A complete bundle's gradient runs on the
    CPU, so that probes take nothing from the answers; the index builder's, who answers nobody, runs where its encoder does.
    """

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        *,
        threads: int,
        placement: Placement = CPU,
        max_batch: int = MAX_BATCH,
        gradient_on: Device = "cpu",
    ) -> None:
        self.directory = directory
        self.manifest = manifest
        self.placement = placement
        self._threads, self._gradient_on = threads, gradient_on
        path = directory / (ENCODER_FLOAT16 if placement.precision == "float16" else ENCODER)
        with waiting(log, f"opening {path.name} on {placement}"):
            self.encoder = _encoder(path, threads, placement, max_batch)
        self.class_names = manifest.class_names
        if self.encoder.contract.shape != manifest.input.shape:
            raise ContractMismatchError(
                f"{path} takes images of {self.encoder.contract.shape}, the manifest says"
                f" {manifest.input.shape}; export the encoder again"
            )
        if self.encoder.dim != manifest.embedding_dim:
            raise ContractMismatchError(
                f"{path} returns {self.encoder.dim} dimensions, the manifest says {manifest.embedding_dim}"
            )
        if placement.device != "cpu":
            refuse_disagreement(self.encoder, OnnxEncoder(directory / ENCODER, threads=threads), placement.precision)

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        threads: int = 1,
        device: DeviceChoice = "cpu",
        max_batch: int = MAX_BATCH,
        precision: Precision = "float32",
    ) -> Self:
        """Open a complete bundle.

        Args:
            directory: where manifest.json lies.
            threads: of ONNX Runtime, for each of its graphs.
            device: where encoder and index run; "auto" takes the GPU if it can, and `placement` says what was taken.
            max_batch: images that a GPU embeds at once; more are split. The CPU embeds what it is given.
            precision: what a GPU's encoder computes in; "float16" takes encoder_float16.onnx. Index and vote are the same.

        Raises:
            MissingFileError, HashMismatchError, SchemaMismatchError, ContractMismatchError: see holdfast.errors.
            DeviceError: "cuda", and the GPU cannot be used; or "cpu" and "float16".

        """
        directory = Path(directory)
        with bounded_memory(directory):
            return cls._open(directory, threads, device, max_batch, precision)

    @classmethod
    def _open(cls, directory: Path, threads: int, device: DeviceChoice, max_batch: int, precision: Precision) -> Self:
        manifest = _verified(directory)
        if precision == "float16" and device != "cpu" and ENCODER_FLOAT16 not in manifest.files:
            raise MissingFileError(
                f"{directory} has no {ENCODER_FLOAT16}: open it in float32, or export it with holdfast train ... --half,"
                " which says where float16 is not near enough"
            )
        return place(device, partial(cls._open_on, directory, manifest, threads, max_batch), precision)

    @classmethod
    def _open_on(cls, directory: Path, manifest: Manifest, threads: int, max_batch: int, placement: Placement) -> Self:
        bundle = cls(directory, manifest, threads=threads, placement=placement, max_batch=max_batch)
        bundle._check_index()
        if manifest.uncalibrated:
            log.warning("%s: %s", directory, manifest.uncalibrated)
        return bundle

    @classmethod
    def open_encoder(
        cls, directory: Path, *, threads: int = 1, device: DeviceChoice = "cpu", max_batch: int = MAX_BATCH
    ) -> Self:
        """Open a bundle that may still lack its index. Arguments and errors are those of `open`."""
        directory = Path(directory)
        with bounded_memory(directory):
            manifest = _verified(directory)
            return place(device, partial(cls._open_encoder_on, directory, manifest, threads, max_batch))

    @classmethod
    def _open_encoder_on(cls, directory: Path, manifest: Manifest, threads: int, max_batch: int, placement: Placement) -> Self:
        return cls(directory, manifest, threads=threads, placement=placement, max_batch=max_batch, gradient_on=placement.device)

    @cached_property
    def gradient(self) -> OnnxGradient:
        """The vector-Jacobian product of the encoder; loaded when first asked for."""
        self._require(GRADIENT, self._without_gradient())
        gradient = OnnxGradient(self.directory / GRADIENT, threads=self._threads, device=self._gradient_on)
        if gradient.shape != self.manifest.input.shape or gradient.dim != self.encoder.dim:
            raise ContractMismatchError(
                f"{self.directory / GRADIENT} is of pixels {gradient.shape} and {gradient.dim} dimensions, the encoder of"
                f" {self.manifest.input.shape} and {self.encoder.dim}; export both again"
            )
        return gradient

    def _without_gradient(self) -> str:
        """What to do, of a bundle without one."""
        if self.manifest.imported is None:
            return "export the encoder again with holdfast train"
        return (
            "its encoder was imported, and has an operator whose gradient is not traced: it can be indexed and served, not"
            " probed or attacked by its gradient; attack a server of it by holdfast evaluate --address"
        )

    @cached_property
    def index(self) -> Retriever:
        """The exemplars, searchable; of the kind that the manifest names."""
        manifest, exemplars = self.manifest, self.exemplars
        for name in manifest.index_files:
            self._require(name, f"run holdfast index {self.directory}")
        with waiting(log, f"reading the index of {len(exemplars):,} exemplars"):
            opened = open_retriever(
                manifest.index_kind,
                [self.directory / name for name in manifest.index_files],
                exemplars.ids,
                exemplars.labels,
                self.placement.device,
                parameters=manifest.index.parameters if manifest.index else {},
            )
        if isinstance(opened, SharedRetriever):  # another server may have begun classes that this bundle does not know
            return opened.sized(opened.size, len(manifest.class_names))
        return opened

    @cached_property
    def exemplars(self) -> Exemplars:
        """What each row of the index is."""
        self._require(EXEMPLARS, f"run holdfast index {self.directory}")
        return Exemplars.load(self.directory / EXEMPLARS)

    @property
    def next_id(self) -> int:
        """The id of the next exemplar that is added: no exemplar ever had it, as far as the bundle says."""
        recorded = self.manifest.index.next_id if self.manifest.index else None
        return max(recorded or 0, int(self.exemplars.ids.max(initial=-1)) + 1)

    @cached_property
    def calibration_set(self) -> CalibrationSet:
        """The held-out images that credibility rests on, embedded; read when first asked for.

        Raises:
            MissingFileError: bundles of older schemas have none, nor have those whose set has no calibration part.

        """
        self._require(CALIBRATION, f"run holdfast index {self.directory} --recalibrate")
        held_out = CalibrationSet.load(self.directory / CALIBRATION)
        held_out.refuse_misfit(self.manifest.embedding_dim, len(self.class_names), str(self.directory / CALIBRATION))
        return held_out

    @property
    def canary_set(self) -> CanarySet | None:
        """Images with the answers that this bundle gave when it was built; None where it has none. Read at each call."""
        if CANARY not in self.manifest.files:
            return None
        canary = CanarySet.load(self.directory / CANARY)
        canary.refuse_misfit(self.manifest.input.shape, self.directory / CANARY)
        return canary

    @cached_property
    def head(self) -> ClassifierHead | None:
        """The classifier that the encoder was trained with; None where there is none. No answer depends on it.

        Raises:
            ContractMismatchError: it is of another encoder, or of other classes.

        """
        if HEAD not in self.manifest.files:
            return None
        head = ClassifierHead.load(self.directory / HEAD)
        head.refuse_misfit(self.manifest.embedding_dim, len(self.class_names), str(self.directory / HEAD))
        return head

    def classifier(self, index: Retriever | None = None) -> Classifier:
        """A new classifier over this bundle's parts, which it shares. On a bank of 50,000 making one takes seconds.

        Args:
            index: the exemplars, where they are open already; else the bundle's own, which is read.

        """
        manifest = self.manifest
        return Classifier(
            self.encoder,
            self.index if index is None else index,
            classes=len(manifest.class_names),
            vote=manifest.vote,
            calibration=manifest.calibration,
            surrogate_tau=manifest.surrogate_tau,
        )

    def _require(self, name: str, remedy: str) -> None:
        if name not in self.manifest.files:
            raise MissingFileError(f"{self.directory} has no {name} yet; {remedy}")

    def _check_index(self) -> None:
        index, exemplars, manifest = self.index, self.exemplars, self.manifest
        again = f"run holdfast index {self.directory}"
        if index.dim != self.encoder.dim:
            raise ContractMismatchError(
                f"the index holds {index.dim} dimensions, the encoder returns {self.encoder.dim}; {again}"
            )
        if index.size != len(exemplars):
            raise ContractMismatchError(f"the index holds {index.size} exemplars, their table {len(exemplars)}; {again}")
        if len(exemplars) == 0 or not 0 <= exemplars.labels.min() <= exemplars.labels.max() < len(manifest.class_names):
            raise ContractMismatchError(f"exemplars' labels go beyond the {len(manifest.class_names)} classes; {again}")
        believed = exemplars.believed
        if believed is not None and not -1 <= believed.min() <= believed.max() < len(manifest.class_names):
            raise ContractMismatchError(f"exemplars are believed to be of classes that there are not; {again}")
        if (
            len(np.unique(exemplars.ids)) != len(exemplars)
            or not 0 <= exemplars.ids.min() <= exemplars.ids.max() < 1 << ID_BITS
        ):
            raise ContractMismatchError(f"exemplars' ids are not unique, or not in 0 to 2 ** {ID_BITS}; {again}")
        if isinstance(index, Summarised):
            index.prototypes.refuse_misfit(index.dim, len(manifest.class_names), again)
        if manifest.vote.k > index.size:
            raise ContractMismatchError(f"the vote asks k = {manifest.vote.k} of {index.size} exemplars; {again}")
        if self.placement.device != "cpu":
            # Takes the memory that a search needs, and finds out whether a GPU can look for so many neighbours.
            index.search(np.zeros((1, index.dim), dtype=np.float32), manifest.vote.k + SPARE)


def _encoder(path: Path, threads: int, placement: Placement, max_batch: int) -> OnnxEncoder:
    if placement.device == "cpu":
        return OnnxEncoder(path, threads=threads)
    return BucketedEncoder(path, threads=threads, device=placement.device, max_batch=max_batch)


def _verified(directory: Path) -> Manifest:
    """Hash every file before any parser sees it: an index or graph that was tampered with is never opened."""
    manifest = read_manifest(directory)
    if ENCODER not in manifest.files:
        raise MissingFileError(f"{directory / MANIFEST} names no {ENCODER}; export the encoder again")
    verify_files(directory, manifest.files)
    return manifest
