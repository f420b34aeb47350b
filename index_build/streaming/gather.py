"""The parts of an embedded set, brought together: embeddings in one file, labels and names in memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.calibration_set import CalibrationSet
from holdfast.bundle.exemplars import DIGEST_BYTES
from holdfast.bundle.sources import Sources
from holdfast.data.digest import PartDigest, set_sha256
from holdfast.index_build.streaming.embedding_file import EmbeddingFile
from holdfast.index_build.streaming.known import KnownImages
from holdfast.index_build.streaming.parts import SPLITS, EmbeddedPart, PartsError, PartsFolder, RowRange

Ints = NDArray[np.int64]

NAMED_AT_MOST = 10


@dataclass(frozen=True, eq=False)
class AlreadyThere:
    """Images of a set that a bundle has already.

    Attributes:
        train: int64 [n], which of the readable images of the training part.
        calibration: likewise.
        labelled_otherwise: of the training part, those that are exemplars under another label.

    """

    train: Ints
    calibration: Ints
    labelled_otherwise: int


@dataclass(frozen=True, eq=False)
class EmbeddedSet:
    """An embedded set; the embeddings of its training part are in a file.

    Attributes:
        labels: int64 [M] of the training part.
        sources: M names.
        digests: uint8 [M, DIGEST_BYTES], see `holdfast.bundle.exemplars.Exemplars`.
        held_out: the calibration part, n images.
        test_images: how many there are.
        test_sha256: of the test part; see `holdfast.data.digest`.
        sha256: of the whole set.
        faults: "name: reason" of each image that could not be read.
        already_there: what was left out of it.

    """

    labels: Ints
    sources: Sources
    digests: NDArray[np.uint8]
    held_out: CalibrationSet
    test_images: int
    test_sha256: str
    sha256: str
    faults: tuple[str, ...]
    already_there: AlreadyThere


def gather(
    folders: Sequence[tuple[PartsFolder, Sequence[RowRange]]], train: EmbeddingFile, known: KnownImages | None = None
) -> EmbeddedSet:
    """Bring the parts of a set together.

    Args:
        folders: where the parts of which pieces lie; together all of the set.
        train: gets the embeddings of the training part.
        known: images that are left out of training and calibration part, as they are there already.

    Raises:
        PartsError: a part is not there, or damaged.

    """
    where = {piece.number: (folder, piece) for folder, pieces in folders for piece in pieces}
    identity = folders[0][0].header.identity
    columns = {split: _Columns(identity["dim"]) for split in SPLITS}
    faults: list[str] = []
    otherwise = 0
    for _, (folder, piece) in sorted(where.items()):
        part = next(folder.parts([piece]))
        faults += part.faults
        there = np.zeros(len(part.labels), dtype=bool)
        if known is not None and piece.split != "test":
            there = known.there(part, piece.split)
            otherwise += known.labelled_otherwise(part) if piece.split == "train" else 0
        kept = columns[piece.split].add(part, there)
        if piece.split == "train":
            train.append(kept.embeddings)
        elif piece.split == "calibration":
            columns[piece.split].embeddings.append(kept.embeddings.astype(np.float32))
    first, held, test = (columns[split] for split in SPLITS)
    hashes = [columns[split].digest.hexdigest() for split in SPLITS]
    sources = tuple(Sources.joined(held.sources))
    return EmbeddedSet(
        labels=np.concatenate(first.labels),
        sources=Sources.joined(first.sources),
        digests=np.concatenate(first.first_bytes),
        held_out=CalibrationSet(np.concatenate(held.embeddings), np.concatenate(held.labels), sources),
        test_images=test.read,
        test_sha256=hashes[2],
        sha256=set_sha256(identity["class_names"], identity["shape"], hashes),
        faults=tuple(faults),
        already_there=AlreadyThere(np.concatenate(first.left_out), np.concatenate(held.left_out), otherwise),
    )


class _Columns:
    """What is gathered of one split, part after part."""

    def __init__(self, dim: int) -> None:
        self.digest, self.read = PartDigest(), 0
        self.labels, self.left_out = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        self.sources: list[Sources] = []
        self.embeddings = [np.zeros((0, dim), np.float32)]
        self.first_bytes = [np.zeros((0, DIGEST_BYTES), np.uint8)]

    def add(self, part: EmbeddedPart, there: NDArray[np.bool_]) -> EmbeddedPart:
        """Take a part without those of its images that are there already, bool [m]. Returns what was taken."""
        self.digest.update(part.digests, part.labels)  # of all that was read
        self.left_out.append(self.read + np.flatnonzero(there))
        self.read += len(part.labels)
        kept = part.take(np.flatnonzero(~there)) if there.any() else part
        self.labels.append(kept.labels)
        self.sources.append(kept.sources)
        self.first_bytes.append(kept.digests[:, :DIGEST_BYTES].copy())
        return kept


def refuse_unreadable(folder: PartsFolder, pieces: Sequence[RowRange]) -> None:
    """Refuse a set with images that cannot be read, and forget the parts that they would be of.

    Raises:
        PartsError: there are some; the message names the first of them.

    """
    faulty = [(part.number, part.faults) for part in folder.parts(pieces) if part.faults]
    if not faulty:
        return
    for number, _ in faulty:
        folder.drop(number)
    named = [fault for _, faults in faulty for fault in faults]
    raise PartsError(f"{describe_faults(named)}\nRemove them, or leave them out by --skip-unreadable; the rest is kept")


def describe_faults(faults: Sequence[str]) -> str:
    """How many images cannot be read, and which, at most ten of them."""
    named = "\n  ".join(faults[:NAMED_AT_MOST])
    more = f"\n  and {len(faults) - NAMED_AT_MOST:,} more" if len(faults) > NAMED_AT_MOST else ""
    return f"{len(faults):,} files cannot be read as images:\n  {named}{more}"
