"""Embedding a labelled set piece by piece: memory holds a batch at a time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.bundle.reader import Bundle
from holdfast.bundle.sources import Sources
from holdfast.data.digest import image_digests
from holdfast.data.streamed import StreamedSplits
from holdfast.errors import BundleError
from holdfast.index_build.streaming.parts import EmbeddedPart, RowRange
from holdfast.index_build.streaming.unchanged import stamps_of
from holdfast.model.answers import Floats
from holdfast.model.device_choice import DeviceChoice
from holdfast.model.preprocess import Pixels
from holdfast.model.retrieval.unit_length import other_lengths

Advance = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class EmbeddingJob:
    """What embeds any piece of a set. It can be pickled, and opens the encoder where it is first used.

    Attributes:
        bundle: directory that has the encoder.
        splits: the set.
        dim: of the embeddings.
        batch_size: images embedded at once.
        threads: of ONNX Runtime.
        device: where images are embedded.
        half: whether embeddings are kept as float16.
        opened: the bundle, where it is open already; it is not pickled.

    """

    bundle: Path
    splits: StreamedSplits
    dim: int
    batch_size: int = 256
    threads: int = 1
    device: DeviceChoice = "cpu"
    half: bool = False
    opened: Bundle | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        names = ("bundle", "splits", "dim", "batch_size", "threads", "device", "half")
        return {name: getattr(self, name) for name in names} | {"opened": None}

    @cached_property
    def _encoder(self) -> Any:
        bundle = self.opened or Bundle.open_encoder(
            self.bundle, threads=self.threads, device=self.device, max_batch=self.batch_size
        )
        return bundle.encoder

    def _embedded(self, images: Pixels) -> Floats:
        """Embeddings of uint8 [n, H, W, 3]: float32 [n, D]. Raises BundleError where one is not of unit length."""
        embedded: Floats = self._encoder.embed(images)
        if wrong := other_lengths(embedded):
            raise BundleError(
                f"the encoder of {self.bundle} gave {wrong} of {len(embedded)} images embeddings that are not of unit length,"
                " or not finite: export it again"
            )
        return embedded

    def embed(self, piece: RowRange, advance: Advance | None = None) -> EmbeddedPart:
        """Read and embed a piece; images of the test split are read for their hash alone.

        Args:
            piece: of the set.
            advance: called with the number of images of each batch.

        Raises:
            BundleError: an embedding is not of unit length.

        """
        source = self.splits.part(piece.split)
        embeddings = [np.zeros((0, self.dim), np.float16 if self.half else np.float32)]
        rows, digests, faults = [np.zeros(0, np.int64)], [image_digests(np.zeros((0, 1), np.uint8))], []
        stamps = stamps_of(source, np.arange(piece.start, piece.stop))  # before: what changes while it is read has another
        for start in range(piece.start, piece.stop, self.batch_size):
            batch = source.read(np.arange(start, min(start + self.batch_size, piece.stop)))
            digests.append(image_digests(batch.images))
            if piece.split != "test" and len(batch.rows):
                embeddings.append(self._embedded(batch.images).astype(embeddings[0].dtype))
            rows.append(batch.rows)
            faults += [f"{source.sources[fault.row]}: {fault.reason}" for fault in batch.faults]
            if advance is not None:
                advance(min(self.batch_size, piece.stop - start))
        read = np.concatenate(rows)
        return EmbeddedPart(
            piece.number,
            np.concatenate(embeddings),
            source.labels[read],
            Sources.of(source.sources[row] for row in read.tolist()),
            np.concatenate(digests),
            read,
            stamps,
            tuple(faults),
        )
