"""One batch on several CPU threads: each takes a share of the images, and their gradients are averaged.

Threads within a layer, which is what torch offers, wait for each other hundreds of times in a step, and oneDNN's spin while
they wait. Shares of a batch meet once a step. Each thread has modules of its own, so that one can hold them still to attack
(`frozen`) while another learns; their weights are the same memory.

What is computed over a whole batch is then computed over a share: BatchNorm's statistics in training, and the negatives of a
contrastive loss. The running statistics are averaged.
"""

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives import Batch, Objective


class Shares:
    """Workers that follow a loss together. A context: they end with it.

    Args:
        number: of workers, each on one core; with one, everything is done in the calling thread.
        precision: the mixed precision of every worker.

    """

    def __init__(self, number: int, precision: torch.autocast) -> None:
        self.number, self._precision = number, precision
        self._pool = ThreadPoolExecutor(number, thread_name_prefix="share") if number > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._pool:
            self._pool.shutdown()

    def backward(
        self, encoder: ImageEncoder, objective: Objective, batch: Batch, generators: Sequence[torch.Generator]
    ) -> dict[str, Tensor]:
        """Add the gradient of the objective's loss to encoder and objective.

        Args:
            encoder: on the CPU, if there are several workers.
            objective: where the loss comes from, prepared for this step.
            batch: N images, N at least twice the number of workers.
            generators: one for each worker.

        Returns:
            The terms of the loss by name, detached, averaged over the shares that have them.

        """
        originals = _Learners(encoder, objective)
        if self._pool is None:
            return self._follow(originals, batch, generators[0])
        copies = [_sharing_weights(originals) for _ in generators]
        told = list(self._pool.map(self._follow, copies, batch.shares(self.number), generators))
        _gather(originals, copies, followed=sum(map(bool, told)))
        names = dict.fromkeys(name for terms in told for name in terms)
        return {name: torch.stack([terms[name] for terms in told if name in terms]).mean() for name in names}

    def _follow(self, learners: "_Learners", batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        # A context of its own: autocast is a property of the thread.
        with copy.copy(self._precision):
            terms = learners.objective.terms(learners.encoder, batch, generator)
        if terms:
            torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]  # torch's stubs
        return {name: term.detach() for name, term in terms.items()}


class _Learners(nn.Module):
    """All that learns, as one module."""

    def __init__(self, encoder: ImageEncoder, objective: Objective) -> None:
        super().__init__()
        self.encoder, self.objective = encoder, objective


def _sharing_weights(learners: _Learners) -> _Learners:
    """A copy whose parameters are the same memory, with gradients of their own; buffers are copied."""
    same = {id(p): nn.Parameter(p.detach(), requires_grad=p.requires_grad) for p in learners.parameters()}
    return copy.deepcopy(learners, dict(same))


def _gather(originals: _Learners, copies: Sequence[_Learners], *, followed: int) -> None:
    """Average gradients over the copies that have followed a loss, and buffers over all."""
    for original, *shared in zip(originals.parameters(), *(each.parameters() for each in copies), strict=True):
        gradients = [parameter.grad for parameter in shared if parameter.grad is not None]
        if gradients:
            mean = torch.stack(gradients).sum(0) / followed
            original.grad = mean if original.grad is None else original.grad + mean
    for original, *several in zip(originals.buffers(), *(each.buffers() for each in copies), strict=True):
        # Counters are the same everywhere.
        original.copy_(torch.stack(several).mean(0) if original.is_floating_point() else several[0])
