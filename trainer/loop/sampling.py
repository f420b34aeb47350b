"""Which images a step learns from, and the seeds of its other random numbers: both by its place in the run alone."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from holdfast.trainer.config import Stage
from holdfast.trainer.objectives import ImageBatch


def seed_of(*place: int) -> int:
    """One seed for each place in a run, of which no two are near each other; the same on every machine."""
    return int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_generators(generators: Sequence[torch.Generator], seed: int, stage: int, step: int) -> None:
    """Seed the generator of each shard of a batch for a step (from 1) of a stage (from 0)."""
    for shard, generator in enumerate(generators):
        place = (seed, 1 + stage, step, shard) if shard else (seed, 1 + stage, step)
        generator.manual_seed(seed_of(*place))


def draw(train_set: ImageBatch, stage: Stage, seed: int, step: int) -> ImageBatch:
    """The batch of a step (from 1): consecutive images of this epoch's order; what is left over at its end is dropped."""
    size = min(stage.batch_size, len(train_set))
    epoch, place = divmod(step - 1, len(train_set) // size)
    order = order_of(len(train_set), seed, epoch, train_set.labels.device)
    return train_set.at(order[place * size : (place + 1) * size])


@lru_cache(maxsize=1)
def order_of(number: int, seed: int, epoch: int, device: torch.device) -> Tensor:
    """The order of the images in an epoch, int64 [number]. The last one is kept: copying one to a GPU waits for the GPU."""
    return torch.randperm(number, generator=torch.Generator().manual_seed(seed_of(seed, 0, epoch))).to(device)
