"""One batch on several CPU threads: each takes a shard of the images, and their gradients are averaged.

Threads within a layer, which is what torch offers, wait for each other hundreds of times in a step, and oneDNN's spin while
they wait. Replicas meet once a step. Each thread has modules of its own, so that one can freeze them for an attack (`frozen`)
while another learns; their weights are the same memory.

What is computed over a whole batch is then computed over a shard: BatchNorm's statistics in training, and the negatives of a
contrastive loss. The running statistics are averaged; `SharedBuffers`, what is remembered of each image for instance, are the
same for all.
"""

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.loop import processes
from holdfast.trainer.objectives import ImageBatch, Objective, SharedBuffers


class DataParallel:
    """Threads that compute the gradient of one batch together. A context: they end with it.

    Args:
        replicas: number of threads, each on one core; with one, everything is done in the calling thread.
        precision: the mixed precision of every thread.
        joined: average with the other processes as well, where there are any.

    """

    def __init__(self, replicas: int, precision: torch.autocast, *, joined: bool = False) -> None:
        self.replicas, self._precision, self.joined = replicas, precision, joined
        self._pool = ThreadPoolExecutor(replicas, thread_name_prefix="replica") if replicas > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._pool:
            self._pool.shutdown()

    def backward(
        self, encoder: ImageEncoder, objective: Objective, batch: ImageBatch, generators: Sequence[torch.Generator]
    ) -> dict[str, Tensor]:
        """Add the gradient of the objective's loss to encoder and objective.

        Args:
            encoder: on the CPU, if there are several replicas.
            objective: computes the loss; prepared for this step.
            batch: N images of this process, N at least twice the number of replicas.
            generators: one for each replica.

        Returns:
            The terms of the loss by name, detached, averaged over the shards that have them.

        """
        original = _Replica(encoder, objective)
        if self._pool is None:
            found = [self._backward(original, batch, generators[0])]
        else:
            replicas = [_sharing_weights(original) for _ in generators]
            found = list(self._pool.map(self._backward, replicas, batch.shards(self.replicas), generators))
            _gather(original, replicas, contributing=sum(map(bool, found)))
        if self.joined and processes.count() > 1:
            return processes.average(original, objective.names, found)
        names = dict.fromkeys(name for terms in found for name in terms)
        return {name: torch.stack([terms[name] for terms in found if name in terms]).mean() for name in names}

    def _backward(self, replica: "_Replica", batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        # A context of its own: autocast is a property of the thread.
        with copy.copy(self._precision):
            terms = replica.objective.terms(replica.encoder, batch, generator)
        if terms:
            torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]  # torch's stubs
        return {name: term.detach() for name, term in terms.items()}


class _Replica(nn.Module):
    """All that learns, as one module."""

    def __init__(self, encoder: ImageEncoder, objective: Objective) -> None:
        super().__init__()
        self.encoder, self.objective = encoder, objective


def _sharing_weights(original: _Replica) -> _Replica:
    """A copy whose parameters are the same memory, with gradients of their own; buffers are copied, but for memories."""
    same: dict[int, object] = {id(memory): memory for memory in _memories(original)}
    same |= {id(p): nn.Parameter(p.detach(), requires_grad=p.requires_grad) for p in original.parameters()}
    return copy.deepcopy(original, same)


def _memories(original: _Replica) -> list[SharedBuffers]:
    return [module for module in original.modules() if isinstance(module, SharedBuffers)]


def _gather(original: _Replica, replicas: Sequence[_Replica], *, contributing: int) -> None:
    """Average gradients over the replicas that contribute a loss, and buffers over all; memories are the same one already."""
    for parameter, *shared in zip(original.parameters(), *(each.parameters() for each in replicas), strict=True):
        gradients = [copied.grad for copied in shared if copied.grad is not None]
        if gradients:
            mean = torch.stack(gradients).sum(0) / contributing
            parameter.grad = mean if parameter.grad is None else parameter.grad + mean
    remembered = {id(buffer) for memory in _memories(original) for buffer in memory.buffers()}
    for buffer, *several in zip(original.buffers(), *(each.buffers() for each in replicas), strict=True):
        if id(buffer) not in remembered:
            # Counters are the same everywhere.
            buffer.copy_(torch.stack(several).mean(0) if buffer.is_floating_point() else several[0])
