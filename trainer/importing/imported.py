"""From an ONNX model to a bundle that lacks only its index."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from holdfast.bundle.manifest import ImportRecord, Manifest, ThreatModelRecord
from holdfast.bundle.reader import ENCODER
from holdfast.bundle.threat_model import ThreatModel
from holdfast.bundle.writer import BundleWriter
from holdfast.data.streamed import open_labelled
from holdfast.importing.encoder import ImportedEncoder
from holdfast.importing.errors import EncoderImportError
from holdfast.importing.processor_parity import ProcessorParity, prepared_pictures
from holdfast.importing.source import OnnxSource
from holdfast.model.encoder.onnx import OnnxEncoder
from holdfast.model.preprocess import InputContract, Pixels
from holdfast.model.vote import VoteParameters
from holdfast.revision import commit
from holdfast.trainer.export import rounding
from holdfast.trainer.export.graphs import export
from holdfast.trainer.export.parity import Parity

IMAGES = 100
"""On which the bundle's encoder is held against the model as it came."""

TOLERANCE = {"float32": 1e-4, "float16": 5e-3, "uint8": 1e-4}
"""By which any number of an embedding of unit length may differ, by what the model computes in."""

NEIGHBOURS = 15
"""That vote, as in the trainer's presets; a smaller set takes fewer."""


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """How a bundle is made of an encoder.

    Attributes:
        data: a labelled set, of whose images some are compared on as well.
        data_dir: where a built-in set lies.
        threat: what the encoder is to be attacked within. It was not trained for any.
        command: the command line, as a person would type it again.
        half: store weights as float16, once for all graphs, with a graph that computes in float16 for GPUs.

    """

    half: bool = False
    data: str | None = None
    data_dir: Path | None = None
    threat: ThreatModel
    command: str


@dataclass(frozen=True)
class ImportParity:
    """How far the bundle's encoder lies from the model as it came.

    Attributes:
        processor: and how far from the model behind its own processor; None where there is none.
        largest: difference of any number of any embedding of unit length.
        allowed: of these.
        images: that were compared.
        real: those of them that are of a set; the others are random.

    """

    largest: float
    allowed: float
    images: int
    real: int
    processor: ProcessorParity | None = None


def write_imported(
    imported: ImportedEncoder, out: Path, options: ImportOptions, progress: Callable[[str], object] = lambda _: None
) -> tuple[Parity, ImportParity]:
    """Export an encoder to a new bundle, and hold it against the model as it came before the manifest is written.

    Args:
        imported: from `read_encoder`.
        out: directory of the bundle.
        options: of the import.
        progress: is told what is done now.

    Returns:
        How far the graphs lie from torch, and how far the encoder lies from the model.

    Raises:
        ExportError: the graphs do not compute what the module computes.
        EncoderImportError: the encoder does not compute what the model computes. What lies at `out` is as it was.
        HoldfastError: `out` holds something else, or the set cannot be read.

    """
    contract = imported.preprocessing.contract
    images, real = comparison_images(contract, options)
    with imported.reference() as model:
        progress("running the model as it came")
        expected = model.embed(images)
    if not np.isfinite(expected).all() or not np.linalg.norm(expected, axis=1).min() > 0.5:
        raise EncoderImportError(
            f"{imported.source.path} gives numbers that are not finite, or nothing but zeros: is it scaled as it was trained?"
        )
    progress("preparing pictures as the model's own processor does")
    pictures = prepared_pictures(imported)
    writer = BundleWriter.create(out)
    with tempfile.TemporaryDirectory(prefix="holdfast-import-") as name:
        folder = Path(name)
        progress("exporting encoder and gradient, and comparing them with torch")
        module = rounding.rounded(imported.encoder) if options.half else imported.encoder
        parity = export(module, folder, contract, images[:real][:33], half=options.half, needs_gradient=False)
        progress("comparing the encoder with the model as it came")
        encoder = OnnxEncoder(folder / ENCODER)
        ours = np.concatenate([encoder.embed(images[start : start + 10]) for start in range(0, len(images), 10)])
        largest, allowed = float(np.abs(ours - expected).max()), _allowed(imported.source, options)
        if not largest <= allowed:
            raise EncoderImportError(
                f"the encoder differs from {imported.source.path} by up to {largest:.1e} on {len(images)} images, and"
                f" {allowed:.0e} is allowed: this is a fault of the import, please report it; {out} is as it was"
            )
        processor = pictures.parity(encoder) if pictures is not None else None
        for file in sorted(folder.iterdir()):
            writer.add(file.name, partial(shutil.copyfile, file))
    agreement = ImportParity(largest, allowed, len(images), real, processor)
    writer.commit(_manifest(imported, out.name, encoder.dim, options, agreement))
    return parity, agreement


def comparison_images(contract: InputContract, options: ImportOptions) -> tuple[Pixels, int]:
    """uint8 [IMAGES, H, W, 3], first those of the set, at most half of them, and their number; the rest is random."""
    random = np.random.default_rng(0)
    found = np.zeros((0, *contract.shape), np.uint8)
    if options.data is not None:
        splits = open_labelled(options.data, contract, directory=options.data_dir, skip_unreadable=True, quiet=True)
        count = min(IMAGES // 2, len(splits.train))
        found = splits.train.read(np.linspace(0, len(splits.train) - 1, count).astype(np.int64)).images
    rest = IMAGES - len(found)
    noise = random.integers(0, 256, (rest, *contract.shape), dtype=np.uint8)
    return np.concatenate([found, noise]), len(found)


def _allowed(source: OnnxSource, options: ImportOptions) -> float:
    half = options.half or any(tensor.data_type == 10 for tensor in source.model.graph.initializer)
    return TOLERANCE["float16" if half else source.dtype]


def _name_of(imported: ImportedEncoder) -> str:
    """A model of the cache is called ORGANISATION/NAME, a file by its name."""
    path = imported.source.path
    return path.as_posix() if imported.tower is not None else path.name


def _manifest(imported: ImportedEncoder, name: str, dim: int, options: ImportOptions, agreement: ImportParity) -> Manifest:
    prepared, source, processor = imported.preprocessing, imported.source, agreement.processor
    return Manifest(
        name=name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        input=prepared.contract,
        embedding_dim=dim,
        class_names=(),
        vote=VoteParameters(k=NEIGHBOURS),
        threat_model=ThreatModelRecord(norm=options.threat.norm, epsilon=options.threat.epsilon),
        imported=ImportRecord(
            command=options.command,
            commit=commit(),
            source=_name_of(imported),
            sha256=source.sha256,
            output=imported.output,
            pool=imported.pool,
            layout=prepared.layout,
            channels=prepared.channels,
            range=prepared.range,
            mean=prepared.mean,
            std=prepared.std,
            weights="float16" if options.half else "float32",
            largest_difference=agreement.largest,
            processor_difference=processor.largest if processor else None,
            processor_levels=processor.levels if processor else None,
        ),
    )
