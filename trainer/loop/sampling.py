"""Which images a step learns from, and the seeds of its other random numbers: both by its place in the run alone."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from holdfast.trainer.config import Stage
from holdfast.trainer.objectives import ImageBatch, TrainingSet


def seed_of(*place: int) -> int:
    """One seed for each place in a run, of which no two are near each other; the same on every machine."""
    return int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_generators(generators: Sequence[torch.Generator], seed: int, stage: int, step: int, first: int = 0) -> None:
    """Seed the generator of each shard of a batch, from shard number `first`, for a step (from 1) of a stage (from 0)."""
    for shard, generator in enumerate(generators, first):
        place = (seed, 1 + stage, step, shard) if shard else (seed, 1 + stage, step)
        generator.manual_seed(seed_of(*place))


REPLAYED = 4
"""One image in so many of a batch is one of an earlier chunk, where there are any."""


def draw(learned: TrainingSet, stage: Stage, seed: int, step: int, again: int = 0) -> ImageBatch:
    """The batch of a step (from 1): consecutive images of this epoch's order; what is left over at its end is dropped.

    Args:
        learned: what the stage learns from.
        stage: says how large a batch is.
        seed: of the run.
        step: of the stage.
        again: how many of `learned`, the last ones, are of earlier chunks: a quarter of the batch is drawn from them, in
            epochs of their own, and lies evenly among the others, so that each shard has its part.

    """
    return learned.at(places_of(learned, stage, seed, step, again))


def places_of(learned: TrainingSet, stage: Stage, seed: int, step: int, again: int = 0) -> Tensor:
    """The places in `learned` of the batch that `draw` gives, int64 [n]: they are known without an image."""
    fresh = len(learned) - again
    size = min(stage.batch_size, len(learned))
    old = min(size // REPLAYED, again)
    device = learned.order_device
    drawn = _drawn(fresh, min(size - old, fresh), seed, step, device)
    return _among(drawn, fresh + _drawn(again, old, seed, step, device)) if old else drawn


def _drawn(number: int, size: int, seed: int, step: int, device: torch.device) -> Tensor:
    epoch, place = divmod(step - 1, number // size)
    return order_of(number, seed, epoch, device)[place * size : (place + 1) * size]


def _among(fresh: Tensor, again: Tensor) -> Tensor:
    """Both, int64 [n + m]: one of the second in the middle of each m-th of the whole."""
    total = len(fresh) + len(again)
    old = torch.zeros(total, dtype=torch.bool, device=fresh.device)
    old[(2 * torch.arange(len(again), device=fresh.device) + 1) * total // (2 * len(again))] = True
    return torch.empty(total, dtype=fresh.dtype, device=fresh.device).masked_scatter(old, again).masked_scatter(~old, fresh)


@lru_cache(maxsize=2)
def order_of(number: int, seed: int, epoch: int, device: torch.device) -> Tensor:
    """The order of the images in an epoch, int64 [number]. The last two are kept: copying one to a GPU waits for the GPU."""
    return torch.randperm(number, generator=torch.Generator().manual_seed(seed_of(seed, 0, epoch))).to(device)
