"""Where pieces of a set are embedded: in this process, or in several of this machine."""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

from holdfast.data.streaming.pool import begin_worker
from holdfast.index_build.streaming.embedding import Advance, EmbeddingJob
from holdfast.index_build.streaming.parts import EmbeddedPart, PartsError, RowRange


class Launcher(Protocol):
    """Where pieces are embedded."""

    def run(self, job: EmbeddingJob, pieces: Sequence[RowRange], advance: Advance) -> Iterator[EmbeddedPart]:
        """Embed pieces, in any order.

        Args:
            job: how.
            pieces: what.
            advance: called with numbers of images that are done.

        """


class InProcess:
    """Pieces are embedded here, one after the other."""

    def run(self, job: EmbeddingJob, pieces: Sequence[RowRange], advance: Advance) -> Iterator[EmbeddedPart]:
        """See `Launcher`."""
        for piece in pieces:
            yield job.embed(piece, advance)


@dataclass(frozen=True, slots=True)
class Processes:
    """Pieces are embedded by several processes of this machine, which share its cores."""

    count: int

    def run(self, job: EmbeddingJob, pieces: Sequence[RowRange], advance: Advance) -> Iterator[EmbeddedPart]:
        """See `Launcher`."""
        shared = replace(job, threads=max(1, job.threads // self.count))
        context = multiprocessing.get_context("spawn")  # a fork would share ONNX Runtime's locks
        pool = ProcessPoolExecutor(min(self.count, len(pieces)) or 1, context, _begin_worker, (shared,))
        waiting = iter(pieces)
        running: set[Future[EmbeddedPart]] = set()
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
    begin_worker()


def _embed_in_worker(piece: RowRange) -> EmbeddedPart:
    if _job is None:
        raise RuntimeError("this is no worker process")
    return _job.embed(piece)
