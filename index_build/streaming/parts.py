"""The pieces that a labelled set is embedded in, and the files that they are kept in: what is done is done but once."""

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.sources import Sources
from holdfast.data.digest import Digests
from holdfast.errors import BundleError
from holdfast.files import replace_atomically, write_atomically

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

HEADER = "header.json"
ROWS = 1024  # images a piece: what a crash can cost, about a second on a small encoder
SPLITS = ("train", "calibration", "test")


class PartsError(BundleError):
    """A folder of parts that cannot be used, or parts that do not make a set."""


@dataclass(frozen=True, slots=True)
class RowRange:
    """Rows `start` to `stop` of one split of a set, by the name of the split; pieces of a set are numbered from 0."""

    number: int
    split: str
    start: int
    stop: int


def pieces_of(counts: Sequence[int], rows: int | None = None) -> tuple[RowRange, ...]:
    """A set in pieces of `rows` images. A piece lies in one split.

    Args:
        counts: images of train, calibration and test.
        rows: images a piece; ROWS by default.

    """
    rows = rows or ROWS
    bounds = [
        (split, start, min(start + rows, count))
        for split, count in zip(SPLITS, counts, strict=True)
        for start in range(0, count, rows)
    ]
    return tuple(RowRange(number, *bound) for number, bound in enumerate(bounds))


@dataclass(frozen=True, eq=False)
class EmbeddedPart:
    """A piece, read and embedded.

    Attributes:
        number: of the piece.
        embeddings: float32 [m, D] of the images that could be read, or float16; [0, D] of the test split.
        labels: int64 [m], theirs.
        sources: m names.
        digests: uint8 [m, 32], SHA-256 of the pixels of each.
        rows: int64 [m], which row of the split each is.
        stamps: int64 [n, 3] of all n images of the piece, from before they were read; see `holdfast.data.sources.Stamped`.
            [0, 3] where the source is not of files.
        faults: "name: reason" of each image that could not be read.

    """

    number: int
    embeddings: NDArray[Any]
    labels: Ints
    sources: Sources
    digests: Digests
    rows: Ints
    stamps: Ints
    faults: tuple[str, ...] = ()

    def take(self, rows: Ints) -> Self:
        """The part of these of its images alone, int64 [n] in 0..m - 1."""
        return replace(
            self,
            embeddings=self.embeddings[rows],
            labels=self.labels[rows],
            sources=self.sources.take(rows),
            digests=self.digests[rows],
            rows=self.rows[rows],
        )

    def save(self, path: Path) -> None:
        """Write it as .npz, whose members carry checksums."""
        faults = Sources.of(self.faults)
        with path.open("wb") as file:
            np.savez(
                file,
                number=np.int64(self.number),
                embeddings=self.embeddings,
                labels=self.labels,
                text=self.sources.text,
                ends=self.sources.ends,
                digests=self.digests,
                rows=self.rows,
                stamps=self.stamps,
                fault_text=faults.text,
                fault_ends=faults.ends,
            )

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """A part that `save` wrote; None where there is none, or one that was cut short or damaged."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as columns:
                return cls(
                    int(columns["number"]),
                    columns["embeddings"],
                    columns["labels"],
                    Sources(columns["text"], columns["ends"]),
                    columns["digests"],
                    columns["rows"],
                    columns["stamps"],
                    tuple(Sources(columns["fault_text"], columns["fault_ends"])),
                )
        except (FileNotFoundError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
            return None


@dataclass(frozen=True, slots=True)
class PartsHeader:
    """What a folder's parts are of.

    Attributes:
        identity: what must be the same for parts to belong together, as JSON can hold it: encoder, set, device, format.
        about: what is good to know besides, and may differ: where the bundle lies, what the set was called.

    """

    identity: dict[str, Any]
    about: dict[str, Any]

    def to_json(self) -> bytes:
        """As the folder's header.json holds it."""
        return (json.dumps({"identity": self.identity, "about": self.about}, sort_keys=True, indent=2) + "\n").encode()

    @property
    def pieces(self) -> tuple[RowRange, ...]:
        """All pieces of the set."""
        return pieces_of(self.identity["counts"], self.identity["rows"])


class PartsFolder:
    """Finished parts of one set embedded by one encoder, a file each. Any part may be missing."""

    def __init__(self, path: Path, header: PartsHeader) -> None:
        self.path, self.header = path, header

    @classmethod
    def begin(cls, path: Path, header: PartsHeader) -> Self:
        """Go on with the folder where it is of the same, else begin it anew: parts of anything else are removed."""
        try:
            there: dict[str, Any] | None = json.loads((path / HEADER).read_bytes())["identity"]
        except (OSError, ValueError, KeyError, TypeError):
            there = None
        if there != json.loads(json.dumps(header.identity)):
            shutil.rmtree(path, ignore_errors=True)
            write_atomically(path / HEADER, header.to_json())
        return cls(path, header)

    @classmethod
    def open(cls, path: Path) -> Self:
        """A folder that was begun. Raises PartsError where it is none."""
        try:
            values = json.loads((path / HEADER).read_bytes())
            return cls(path, PartsHeader(values["identity"], values["about"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PartsError(
                f"{path} holds no shard ({error}): name what holdfast index BUNDLE --shard I/N --out wrote"
            ) from None

    def missing(
        self, pieces: Sequence[RowRange], still_holds: Callable[[EmbeddedPart, RowRange], bool] = lambda _part, _piece: True
    ) -> list[RowRange]:
        """Those of the pieces that there is no whole part of, or one that no longer holds."""
        dim = self.header.identity["dim"]
        absent = []
        for piece in pieces:
            part = EmbeddedPart.load(self._file(piece.number))
            whole = part is not None and part.number == piece.number and part.embeddings.shape[1:] == (dim,)
            if part is None or not whole or not still_holds(part, piece):
                absent.append(piece)
        return absent

    def keep(self, part: EmbeddedPart) -> None:
        """Write a part, all of it or nothing."""
        with replace_atomically(self._file(part.number)) as temporary:
            part.save(temporary)

    def drop(self, number: int) -> None:
        """Forget a part, so that it is read again."""
        self._file(number).unlink(missing_ok=True)

    def parts(self, pieces: Sequence[RowRange]) -> Iterator[EmbeddedPart]:
        """The parts of these pieces, in that order. Raises PartsError where one is not there or damaged."""
        for piece in pieces:
            part = EmbeddedPart.load(self._file(piece.number))
            if part is None:
                raise PartsError(f"{self._file(piece.number)} is missing or damaged: run the command that wrote it again")
            yield part

    def remove(self) -> None:
        """Delete the folder: what it was for is done."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _file(self, number: int) -> Path:
        return self.path / f"part-{number:06d}.npz"
