"""Embedding a labelled set piece by piece, in this process or in several; memory does not grow with the set."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from holdfast.bundle.reader import Bundle
from holdfast.bundle.sources import Sources
from holdfast.data.digest import image_digests
from holdfast.data.streamed import LabelledSource, StreamedSplits
from holdfast.index_build.parts import Part, PartsError, Piece
from holdfast.model.device_choice import DeviceChoice

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

    def embed(self, piece: Piece, advance: Advance | None = None) -> Part:
        """Read and embed a piece; images of the test split are read for their hash alone.

        Args:
            piece: of the set.


        """
        source: LabelledSource = getattr(self.splits, piece.split)
        embeddings = [np.zeros((0, self.dim), np.float16 if self.half else np.float32)]
        rows, digests, faults = [np.zeros(0, np.int64)], [image_digests(np.zeros((0, 1), np.uint8))], []
        for start in range(piece.start, piece.stop, self.batch_size):
            batch = source.read(np.arange(start, min(start + self.batch_size, piece.stop)))
            digests.append(image_digests(batch.images))
            if piece.split != "test" and len(batch.rows):
                embeddings.append(self._encoder.embed(batch.images).astype(embeddings[0].dtype))
            rows.append(batch.rows)
            faults += [f"{source.sources[fault.row]}: {fault.reason}" for fault in batch.faults]
            if advance is not None:
                advance(min(self.batch_size, piece.stop - start))
        read = np.concatenate(rows)
        return Part(
            piece.number,
            np.concatenate(embeddings),
            source.labels[read],
            Sources.of(source.sources[row] for row in read.tolist()),
            np.concatenate(digests),
            tuple(faults),
        )


class Launcher(Protocol):
    """Where pieces are embedded."""

    def run(self, job: EmbeddingJob, pieces: Sequence[Piece], advance: Advance) -> Iterator[Part]:
        """Embed pieces, in any order.

        Args:
            job: how.
            pieces: what.
            advance: called with numbers of images that are done.

        """


class InProcess:
    """Pieces are embedded here, one after the other."""

    def run(self, job: EmbeddingJob, pieces: Sequence[Piece], advance: Advance) -> Iterator[Part]:
        """See `Launcher`."""
        for piece in pieces:
            yield job.embed(piece, advance)


@dataclass(frozen=True, slots=True)
class Processes:
    """Pieces are embedded by several processes of this machine, which share its cores."""

    count: int

    def run(self, job: EmbeddingJob, pieces: Sequence[Piece], advance: Advance) -> Iterator[Part]:
        """See `Launcher`."""
        shared = replace(job, threads=max(1, job.threads // self.count))
        context = multiprocessing.get_context("spawn")  # a fork would share ONNX Runtime's locks
        pool = ProcessPoolExecutor(min(self.count, len(pieces)) or 1, context, _begin_worker, (shared,))
        waiting, running = iter(pieces), set()
        try:
            # No more are submitted than are worked on: what is done and not yet kept would be in memory.
            for piece in islice(waiting, 2 * self.count):
                running.add(pool.submit(_embed_in_worker, piece))
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for each in done:
                    part = each.result()
                    advance(len(part.labels) + len(part.faults))
                    if (piece_next := next(waiting, None)) is not None:
                        running.add(pool.submit(_embed_in_worker, piece_next))
                    yield part
        except BrokenProcessPool:
            raise PartsError(
                "a process that embedded images was ended from outside, most often as memory ran out: run the same command"
                " again with fewer --processes; finished parts are kept"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_job: EmbeddingJob | None = None
"""Of a worker process."""


def _begin_worker(job: EmbeddingJob) -> None:
    global _job  # noqa: PLW0603 - a worker process has one job
    _job = job
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-c is for the parent, which ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot end its workers."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _embed_in_worker(piece: Piece) -> Part:
    if _job is None:
        raise RuntimeError("this is no worker process")
    return _job.embed(piece)
