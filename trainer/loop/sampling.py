"""Which images a step learns from, and the seeds of its other random numbers: both by its place in the run alone."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from holdfast.trainer.config import Stage
from holdfast.trainer.objectives import Batch


def seed_of(*place: int) -> int:
    """One seed for each place in a run, of which no two are near each other; the same on every machine."""
    return int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0] >> np.uint64(1))


def draw(everything: Batch, stage: Stage, seed: int, step: int) -> Batch:
    """The batch of a step (from 1): consecutive images of this epoch's order; what is left over at its end is dropped."""
    size = min(stage.batch_size, len(everything))
    epoch, place = divmod(step - 1, len(everything) // size)
    order = order_of(len(everything), seed, epoch, everything.labels.device)
    return everything.at(order[place * size : (place + 1) * size])


@lru_cache(maxsize=1)
def order_of(number: int, seed: int, epoch: int, device: torch.device) -> Tensor:
    """The order of the images in an epoch, int64 [number]; the last one is kept, as a GPU is waited for when it gets one."""
    return torch.randperm(number, generator=torch.Generator().manual_seed(seed_of(seed, 0, epoch))).to(device)
