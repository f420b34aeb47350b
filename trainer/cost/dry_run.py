"""A few steps of every stage before a run, on throw-away copies: what it costs, what it keeps, how long it will take.

The copies are built, trained and dropped here, by random numbers of their own, so that a run is the same with and without.
Where a stage begins with what another one has learned, here it begins with nothing, which costs the same.
Nothing is compiled, as that takes longer than anybody would wait for a plan.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from holdfast.attacks.search.threads import one_thread_each
from holdfast.data import LabelledImages
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.cost.counting import Work, work_of_step
from holdfast.trainer.cost.roofline import Ceilings, measure, seconds_of
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.loop.data_parallel import Shares
from holdfast.trainer.loop.device import (
    device_of,
    everything_of,
    fast_kernels,
    looks_every,
    multiplied,
    precision_of,
    shares_of,
)
from holdfast.trainer.loop.optim import learn, mean_of, optimiser_of
from holdfast.trainer.objectives import Objective
from holdfast.trainer.state import checkpoint
from holdfast.trainer.state.tensor_file import size_of
from holdfast.trainer.train import build, states_of

COUNTED = (4, 8)
"""Images of the two steps whose operations are counted."""
TIMED = 3
"""Steps that are timed, after as many to warm up."""
PATIENCE = 6.0
"""Seconds that timing a stage may take by its operations; longer ones are not timed."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What was found of a stage: its step's work and seconds (None: it was not timed), and the bytes of its checkpoints."""

    stage: Stage
    images: int
    """In a batch: those of the stage, or all there are."""

    step: Work
    seconds: float | None
    state: int


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What was found of a run, and what its device can do."""

    stages: tuple[Rehearsed, ...]
    ceilings: Ceilings


def rehearse(config: TrainConfig, images: LabelledImages) -> Rehearsal:
    """Take a few steps of every stage. Neither global random numbers nor anything in `config.out` is touched.

    Args:
        config: the run.
        images: what it will be trained on; a few of them are looked at.

    """
    device = device_of(config)
    ceilings = measure(device, multiplied(precision_of(config, device)), shares_of(config, device))
    cards = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(cards), one_thread_each(), fast_kernels(device):
        encoder, objectives = build(replace(config, compile=False), images, device)
        pairs = zip(config.stages, objectives, strict=True)
        stages = tuple(_rehearsed(Cast(config, stage, encoder, objective), images, ceilings) for stage, objective in pairs)
    return Rehearsal(stages, ceilings)


@dataclass(frozen=True, slots=True)
class Cast:
    """Those who take a step."""

    config: TrainConfig
    stage: Stage
    encoder: ImageEncoder
    objective: Objective


def _rehearsed(cast: Cast, images: LabelledImages, ceilings: Ceilings) -> Rehearsed:
    stage, encoder, objective = cast.stage, cast.encoder, cast.objective
    device = device_of(cast.config)
    size = min(stage.batch_size, len(images))
    # From all over the set: where images are sorted by class, the first few are of one.
    chosen = np.linspace(0, len(images) - 1, min(max(size, objective.fewest), len(images))).astype(np.int64)
    everything = everything_of(images.take(chosen), device)
    optimiser = optimiser_of(stage, encoder, objective, fused=looks_every(device) > 1)
    for module in (encoder, objective):
        module.train()
    objective.prepare(encoder, everything, 1)

    def take(shares: Shares, number: int) -> None:
        optimiser.zero_grad()
        generators = [torch.Generator(device).manual_seed(share) for share in range(shares.number)]
        terms = shares.backward(encoder, objective, everything.at(torch.arange(number, device=device)), generators)
        if terms:
            learn(terms, optimiser, stage)

    precision = precision_of(cast.config, device)
    with Shares(1, precision) as alone:  # operators are counted in the thread that asks
        take(alone, COUNTED[0])  # the first step also makes room for moments
        step = work_of_step(lambda number: take(alone, number), COUNTED, size)
    with Shares(shares_of(cast.config, device), precision) as shares:
        # At half of the ceilings, which small maps hardly reach, there and back.
        patient = 2 * 2 * TIMED * max(ceilings.least(step)) <= PATIENCE
        seconds = _timed(lambda: take(shares, size), device) if patient else None
    states = states_of(encoder, objective, optimiser, mean_of(stage, encoder))
    state = size_of(checkpoint.named(states, cast.config.checkpoint_precision).values())
    return Rehearsed(stage, size, step, seconds, state)


def _timed(step: Callable[[], None], device: torch.device) -> float:
    seconds_of(step, device, times=TIMED)
    return seconds_of(step, device, times=TIMED)
