"""The parts of an embedded set, brought together: embeddings in one file, labels and names in memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.calibration_set import CalibrationSet
from holdfast.bundle.sources import Sources
from holdfast.data.digest import PartDigest, set_sha256
from holdfast.index_build.streaming.embedding_file import EmbeddingFile
from holdfast.index_build.streaming.parts import SPLITS, PartsError, PartsFolder, RowRange

Ints = NDArray[np.int64]

NAMED_AT_MOST = 10


@dataclass(frozen=True, eq=False)
class EmbeddedSet:
    """An embedded set; the embeddings of its training part are in a file.

    Attributes:
        labels: int64 [M] of the training part.
        sources: M names.
        digests: uint64 [M], the first 8 bytes of each image's SHA-256.
        held_out: the calibration part, n images.
        test_images: how many there are.
        test_sha256: of the test part; see `holdfast.data.digest`.
        sha256: of the whole set.
        faults: "name: reason" of each image that could not be read.

    """

    labels: Ints
    sources: Sources
    digests: NDArray[np.uint64]
    held_out: CalibrationSet
    test_images: int
    test_sha256: str
    sha256: str
    faults: tuple[str, ...]


def gather(folders: Sequence[tuple[PartsFolder, Sequence[RowRange]]], train: EmbeddingFile) -> EmbeddedSet:
    """Bring the parts of a set together.

    Args:
        folders: where the parts of which pieces lie; together all of the set.
        train: gets the embeddings of the training part.

    Raises:
        PartsError: a part is not there, or damaged.

    """
    where = {piece.number: (folder, piece) for folder, pieces in folders for piece in pieces}
    identity = folders[0][0].header.identity
    digests = {split: PartDigest() for split in SPLITS}
    labels: dict[str, list[Ints]] = {split: [np.zeros(0, np.int64)] for split in SPLITS}
    sources: dict[str, list[Sources]] = {split: [] for split in SPLITS}
    held_out, first_bytes = [np.zeros((0, identity["dim"]), np.float32)], [np.zeros(0, np.uint64)]
    faults: list[str] = []
    for _, (folder, piece) in sorted(where.items()):
        part = next(folder.parts([piece]))
        digests[piece.split].update(part.digests, part.labels)
        labels[piece.split].append(part.labels)
        faults += part.faults
        if piece.split == "train":
            train.append(part.embeddings)
            first_bytes.append(np.ascontiguousarray(part.digests[:, :8]).view(np.uint64).ravel())
        elif piece.split == "calibration":
            held_out.append(part.embeddings.astype(np.float32))
        if piece.split != "test":
            sources[piece.split].append(part.sources)
    hashes = [digests[split].hexdigest() for split in SPLITS]
    return EmbeddedSet(
        labels=np.concatenate(labels["train"]),
        sources=Sources.joined(sources["train"]),
        digests=np.concatenate(first_bytes),
        held_out=CalibrationSet(
            np.concatenate(held_out),
            np.concatenate(labels["calibration"]),
            tuple(Sources.joined(sources["calibration"])),
        ),
        test_images=sum(map(len, labels["test"])),
        test_sha256=hashes[2],
        sha256=set_sha256(identity["class_names"], identity["shape"], hashes),
        faults=tuple(faults),
    )


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
