"""Pieces embedded by actors of Ray, on the machines of its cluster, or on this one where there is none."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from holdfast.errors import HoldfastError, install_command
from holdfast.index_build.streaming.embedding import Advance, EmbeddingJob
from holdfast.index_build.streaming.parts import EmbeddedPart, RowRange


@dataclass(frozen=True, slots=True)
class RayActors:
    """Each of `count` actors opens the encoder and the set once, and embeds piece after piece.

    With RAY_ADDRESS set they run in that cluster, whose machines must find bundle and set under the same paths. Without, a Ray
    of this machine is started, which listens on the loopback alone, and ended again. Parts come back to this process, which
    alone writes them.
    """

    count: int

    def run(self, job: EmbeddingJob, pieces: Sequence[RowRange], advance: Advance) -> Iterator[EmbeddedPart]:
        """See `holdfast.index_build.streaming.launch.Launcher`.

        Raises:
            HoldfastError: Ray is not installed, cannot be reached, or an actor ended.

        """
        local = "RAY_ADDRESS" not in os.environ
        with _ray(self.count, job.threads, local=local) as ray:
            threads = max(1, job.threads // self.count) if local else job.threads
            shared = ray.put(replace(job, threads=threads, opened=None))
            actor = ray.remote(num_cpus=threads)(EmbeddingActor)
            actors = [actor.remote(shared) for _ in range(max(1, min(self.count, len(pieces))))]
            waiting = iter(pieces)
            running = {each.embed.remote(piece): each for each, piece in zip(actors, waiting, strict=False)}
            try:
                while running:
                    done, _ = ray.wait(list(running))
                    idle = running.pop(done[0])
                    part: EmbeddedPart = ray.get(done[0])
                    if (piece := next(waiting, None)) is not None:
                        running[idle.embed.remote(piece)] = idle
                    advance(len(part.labels) + len(part.faults))
                    yield part
            except ray.exceptions.RayActorError as error:
                raise HoldfastError(
                    f"an actor of Ray ended: {str(error).splitlines()[0]}; finished parts are kept, run the same command again"
                ) from None


class EmbeddingActor:
    """Embeds pieces of one job."""

    def __init__(self, job: EmbeddingJob) -> None:
        self._job = job

    def embed(self, piece: RowRange) -> EmbeddedPart:
        """One piece, read and embedded."""
        return self._job.embed(piece)


@contextmanager
def _ray(count: int, threads: int, *, local: bool) -> Iterator[ModuleType]:
    """Ray, connected; what is started here is ended here."""
    # Read when Ray is imported: nothing is reported to anybody.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray  # noqa: PLC0415 - an extra of those who have a cluster
    except ImportError:
        raise HoldfastError(f"--launcher ray needs Ray, which is not installed: {install_command('ray')}") from None
    if ray.is_initialized():
        yield ray
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if local:
            cores = max(count, threads)
            ray.init(num_cpus=cores, include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)
        else:
            ray.init(**quiet)
    except (ConnectionError, RuntimeError, OSError) as error:
        raise HoldfastError(f"Ray cannot be reached or started: {error}") from None
    try:
        yield ray
    finally:
        ray.shutdown()
