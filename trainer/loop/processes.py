"""Several processes that train one encoder, each on its part of every batch: torchrun, for several GPUs or machines.

What threads are to a batch (`data_parallel`), processes are above them: gradients are averaged over all shards of all
processes, and everything else is computed by each alike. So p processes of t threads learn what one process of p t threads
does. The first process writes the log, checkpoints and the bundle; the others write nothing.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from holdfast.errors import HoldfastError
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.objectives import Objective, SharedBuffers

NAMED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun leaves in the environment of each process."""


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Meet the other processes where torchrun has begun this one; else do nothing.

    Args:
        device: as of `TrainConfig`: on GPUs each process takes the one of its number, and nccl; on CPUs gloo.

    """
    if not all(name in os.environ for name in NAMED):
        yield
        return
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def count() -> int:
    """How many processes there are: 1 where there are no others."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def number() -> int:
    """Of this process, from 0."""
    return dist.get_rank() if count() > 1 else 0


def leads() -> bool:
    """Whether this process is the one that writes."""
    return number() == 0


def meet() -> None:
    """Wait until all processes are here."""
    if count() > 1:
        dist.barrier()


def part_of(places: Tensor) -> Tensor:
    """Those of a batch's images that this process learns from, int64 [n]: consecutive ones, as threads then share them."""
    return places.tensor_split(count())[number()]


def decided(*, answer: bool, device: torch.device) -> bool:
    """What the first process answers."""
    if count() == 1:
        return answer
    asked = torch.tensor(float(answer), device=device)
    dist.broadcast(asked, 0)
    return bool(asked)


def make_alike(*modules: nn.Module) -> None:
    """Give all processes the weights and buffers of the first one."""
    if count() > 1:
        for module in modules:
            for tensor in (*module.parameters(), *module.buffers()):
                whole = tensor.detach().contiguous()
                dist.broadcast(whole, 0)
                tensor.detach().copy_(whole)


def added_up(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The sums over all processes, in one exchange. All of one device."""
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    pieces = torch.split(flat, [tensor.numel() for tensor in tensors])
    return [piece.reshape(tensor.shape) for piece, tensor in zip(pieces, tensors, strict=True)]


def average(learning: nn.Module, names: Sequence[str], found: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Average gradients and terms over the shards of all processes that contribute a loss, and buffers over processes.

    Args:
        learning: all that learns; its gradients are means over the shards of this process.
        names: of the terms.
        found: the terms of each shard of this process, detached; none where a shard had no loss.

    Returns:
        The terms, averaged over the shards that have them.

    """
    parameters = [parameter for parameter in learning.parameters() if parameter.requires_grad]
    like = parameters[0]
    contributing = like.new_tensor([float(sum(map(bool, found)))])
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad * contributing for p in parameters]
    having = like.new_tensor([float(p.grad is not None) for p in parameters])
    terms = [like.new_tensor([sum(float(each[name]) for each in found if name in each) for name in names])]
    shards = like.new_tensor([float(sum(name in each for each in found)) for name in names])
    buffers = [buffer for buffer in _changing(learning) if buffer.is_floating_point()]
    exchanged = added_up([contributing, having, *terms, shards, *gradients, *buffers])
    total, known, sums, times, rest = *exchanged[:4], exchanged[4:]
    for parameter, gradient, had in zip(parameters, rest, known.tolist(), strict=False):
        parameter.grad = gradient / total if had else None
    for buffer, whole in zip(buffers, rest[len(parameters) :], strict=True):
        buffer.copy_(whole / count())
    return {name: sums[i] / times[i] for i, name in enumerate(names) if times[i]}


def _changing(learning: nn.Module) -> Iterator[Tensor]:
    """The buffers of what is in training mode: statistics."""
    for module in learning.modules():
        if module.training:
            yield from module.buffers(recurse=False)


def refuse_small_batches(config: TrainConfig) -> None:
    """Refuse batches that leave a shard with fewer than two images.

    Raises:
        HoldfastError: there are several processes, and they do.

    """
    least = 2 * config.threads * count()
    small = [stage.name for stage in config.stages if stage.batch_size < least]
    if small and count() > 1:
        raise HoldfastError(
            f"{count()} processes of {config.threads} threads need batches of at least {least} images: {', '.join(small)}"
        )


def refuse_memories(objective: Objective, stage: str) -> None:
    """Refuse an objective that remembers something of each image, which processes do not tell each other.

    Raises:
        HoldfastError: there are several processes, and it does.

    """
    if count() > 1 and any(isinstance(module, SharedBuffers) for module in objective.modules()):
        raise HoldfastError(
            f"stage {stage!r} remembers something of each image, and processes do not tell each other: train it in one process,"
            " by --threads"
        )
