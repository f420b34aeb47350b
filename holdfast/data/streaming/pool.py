"""Processes that decode images ahead of whoever wants them, and never far ahead.

Each gets the places of a few images and gives their pixels. They are fresh interpreters that load neither torch nor the set's
labels, so one more costs what decoding needs.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from holdfast.data.labelled import DataError
from holdfast.data.listing.encoded import EncodedImages
from holdfast.data.sources import ReadImages, StreamedFiles, decode_rows, read_of
from holdfast.model.preprocess import InputContract, Pixels

Ints = NDArray[np.int64]
Decoded = tuple[Pixels, list[str | None]]

PIECE = 16
"""Images that a process decodes at a time: few, since a batch is ready when the last of its pieces is."""

AHEAD_BYTES = 2**28
"""Pixels that may wait for whoever wants them. One batch is decoded ahead in any case."""


class DecodingPool:
    """Decodes in `processes` processes, which start when they are first needed; with none, in the calling thread.

    A context: the processes end with it, and with this process.
    """

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self._executor: ProcessPoolExecutor | None = None
        self._starting = threading.Lock()  # threads of a training share it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the processes. They start again where they are needed again."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def read(self, source: StreamedFiles, batches: Iterable[Ints]) -> Iterator[ReadImages]:
        """Read batches of images in their order, and decode what comes next meanwhile.

        Args:
            source: has the images.
            batches: rows of it, int64 [n] each; asked for as far ahead as is decoded.

        Raises:
            DataError: a process was ended from outside.

        """
        if not self.processes:
            yield from (source.read(rows) for rows in batches)
            return
        waiting: deque[tuple[Ints, list[Future[Decoded]]]] = deque()
        try:
            for rows in batches:
                waiting.append((rows, self._submit(source, rows)))
                while len(waiting) > self._ahead(source, len(rows)):
                    yield _gather(source, *waiting.popleft())
            while waiting:
                yield _gather(source, *waiting.popleft())
        except BrokenProcessPool:
            self._executor = None
            raise DataError(
                "a process that decoded images was ended from outside, most often as memory ran out: run the same command again"
                " (--resume goes on with a training), with fewer --decoders"
            ) from None
        finally:
            for _, pieces in waiting:
                for piece in pieces:
                    piece.cancel()

    def _ahead(self, source: StreamedFiles, images: int) -> int:
        """Batches that are decoded before they are asked for: enough for all processes, within AHEAD_BYTES."""
        pieces = max(1, -(-images // PIECE))
        wanted = 1 + -(-2 * self.processes // pieces)
        return max(1, min(wanted, AHEAD_BYTES // max(1, images * int(np.prod(source.contract.shape)))))

    def _submit(self, source: StreamedFiles, rows: Ints) -> list[Future[Decoded]]:
        with self._starting:
            if self._executor is None:
                context = multiprocessing.get_context("spawn")  # a fork would share the locks of torch's threads
                self._executor = ProcessPoolExecutor(self.processes, context, begin_worker)
        executor = self._executor
        pieces = (source.encoded.take(rows[start : start + PIECE]) for start in range(0, len(rows), PIECE))
        return [executor.submit(_decode, piece, source.contract, source.max_pixels) for piece in pieces]


def default_decoders(threads: int) -> int:
    """Processes that decode where nobody says how many: one for each core that `threads` leave free, and one at least."""
    return max(1, len(os.sched_getaffinity(0)) - threads)


def begin_worker() -> None:
    """What a process of a pool does first: it leaves Ctrl-C to its parent, and ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot end its workers."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _decode(encoded: EncodedImages, contract: InputContract, max_pixels: int) -> Decoded:
    return decode_rows(encoded, np.arange(len(encoded)), contract, max_pixels)


def _gather(source: StreamedFiles, rows: Ints, pieces: list[Future[Decoded]]) -> ReadImages:
    found = [piece.result() for piece in pieces]
    images = np.concatenate([np.zeros((0, *source.contract.shape), np.uint8), *(images for images, _ in found)])
    return read_of(rows, images, [reason for _, reasons in found for reason in reasons])
