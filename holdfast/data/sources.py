"""Labelled sets that are read as they are needed: memory does not grow with the images, only with labels and names.

splits = open_labelled("photos/", contract)
for first in range(0, len(splits.train), 256):
    batch = splits.train.read(np.arange(first, min(first + 256, len(splits.train))))
    batch.images, splits.train.labels[batch.rows], batch.faults
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from holdfast.data.labelled import LabelledImages
from holdfast.data.listing import ImageListing, PackedNames
from holdfast.data.listing.encoded import EncodedImages
from holdfast.errors import ImageError
from holdfast.model.preprocess import MAX_PIXELS, InputContract, Pixels, decode_image, fit

Ints = NDArray[np.int64]


class ReadFault(NamedTuple):
    """An image that could not be read. row: of the source that was asked. reason: one sentence, without the name."""

    row: int
    reason: str


@dataclass(frozen=True, eq=False)
class ReadImages:
    """Images that were asked for, as far as they could be read.

    images: uint8 [m, H, W, 3]. rows: int64 [m], which row of the source each is, in the order asked for.
    faults: the others.
    """

    images: Pixels
    rows: Ints
    faults: list[ReadFault]


def decode_rows(
    encoded: EncodedImages, rows: Ints, contract: InputContract, max_pixels: int, threads: int = 1
) -> tuple[Pixels, list[str | None]]:
    """Decode and fit images.

    Returns:
        uint8 [n, H, W, 3] of the n rows, and why each could not be read: None where it could, else a sentence.

    """
    images = np.empty((len(rows), *contract.shape), dtype=np.uint8)

    def decode(place: int) -> str | None:
        try:
            images[place] = decode_image(encoded.read(int(rows[place])), contract, max_pixels=max_pixels)
        except (ImageError, OSError) as error:
            return error.strerror or str(error) if isinstance(error, OSError) else str(error)
        return None

    if threads > 1:
        with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
            return images, list(pool.map(decode, range(len(rows))))
    return images, [decode(place) for place in range(len(rows))]


def read_of(asked: Ints, images: Pixels, reasons: Sequence[str | None]) -> ReadImages:
    """What `decode_rows` gave for the rows `asked` of a source."""
    if not any(reasons):
        return ReadImages(images, asked, [])
    good = np.array([reason is None for reason in reasons], dtype=bool)
    faults = [ReadFault(int(row), reason) for row, reason in zip(asked, reasons, strict=True) if reason]
    return ReadImages(images[good], asked[good], faults)


class LabelledSource(Protocol):
    """Labelled images, fitted to an input contract, read from where they lie when they are asked for."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per label."""

    @property
    def labels(self) -> Ints:
        """int64 [N], each in 0..len(class_names) - 1."""

    @property
    def sources(self) -> Sequence[str]:
        """Where each image comes from, as printable text [N]: "cifar10/train/17", a path below the set's folder."""

    @property
    def contract(self) -> InputContract:
        """What the images are fitted to."""

    def __len__(self) -> int: ...

    def read(self, rows: Ints) -> ReadImages:
        """Read the images at `rows` (int64 [n]). One that cannot be read is a fault, never an exception."""

    def select(self, rows: Ints) -> "LabelledSource":
        """Return the source of these rows alone (int64 [n]), in that order."""


@runtime_checkable
class Stamped(Protocol):
    """A source of files, which may change between two reads."""

    def stamps(self, rows: Ints) -> Ints:
        """What tells files that changed from others without reading them. Of an image in a shard, that of the shard.

        Returns:
            int64 [n, 3]: size in bytes, and when content and file last changed, in nanoseconds; -1 where there is no file.

        """


@dataclass(frozen=True, eq=False)
class StreamedFiles:
    """Encoded images, in files of their own or in shards, decoded when they are asked for.

    Attributes:
        encoded: where their bytes lie [N].
        sources: their names [N].
        labels: int64 [N].
        class_names: one name per label.
        contract: what images are fitted to.
        max_pixels: the largest width x height that is decoded.
        threads: that decode at once; Pillow's decoders run beside each other.

    """

    encoded: EncodedImages
    sources: PackedNames
    labels: Ints
    class_names: tuple[str, ...]
    contract: InputContract
    max_pixels: int = MAX_PIXELS
    threads: int = 1

    @classmethod
    def of(
        cls, listing: ImageListing, contract: InputContract, *, max_pixels: int = MAX_PIXELS, threads: int = 1
    ) -> "StreamedFiles":
        """All images of a listing."""
        return cls(listing.encoded, listing.names, listing.labels, listing.class_names, contract, max_pixels, threads)

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, rows: Ints) -> ReadImages:
        """Decode and fit the images at `rows`."""
        asked = np.asarray(rows, dtype=np.int64)
        images, reasons = decode_rows(self.encoded, asked, self.contract, self.max_pixels, self.threads)
        return read_of(asked, images, reasons)

    def stamps(self, rows: Ints) -> Ints:
        """Size and times of the files at `rows`; see `Stamped`."""
        return np.array([self.encoded.stamp(row) for row in rows.tolist()], dtype=np.int64).reshape(-1, 3)

    def select(self, rows: Ints) -> "StreamedFiles":
        """Return the source of these rows alone, in that order."""
        return StreamedFiles(
            self.encoded.take(rows),
            self.sources.take(rows),
            self.labels[rows],
            self.class_names,
            self.contract,
            self.max_pixels,
            self.threads,
        )


@dataclass(frozen=True, eq=False)
class StreamedArrays:
    """Images that are in memory at their own size, fitted when they are asked for."""

    held: LabelledImages
    contract: InputContract

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per label."""
        return self.held.class_names

    @property
    def labels(self) -> Ints:
        """int64 [N]."""
        return self.held.labels

    @property
    def sources(self) -> Sequence[str]:
        """Where each image comes from [N]."""
        return self.held.sources

    def __len__(self) -> int:
        return len(self.held)

    def read(self, rows: Ints) -> ReadImages:
        """Fit the images at `rows`; there are never faults."""
        asked = np.asarray(rows, dtype=np.int64)
        images = np.empty((len(asked), *self.contract.shape), dtype=np.uint8)
        for place, row in enumerate(asked.tolist()):
            images[place] = fit(self.held.images[row], self.contract)
        return ReadImages(images, asked, [])

    def select(self, rows: Ints) -> "StreamedArrays":
        """Return the source of these rows alone, in that order."""
        return StreamedArrays(self.held.take(rows), self.contract)
