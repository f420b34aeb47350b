"""A dry run: a few steps of every stage before a training, on copies, to find what the run costs, keeps and takes.

The copies are built, trained and dropped here, by random numbers of their own, so the training is the same with a dry run and
without. Where a stage begins with what another one has learned, here it begins untrained, which costs the same. Nothing is
compiled: compiling takes longer than the dry run.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from holdfast.attacks.search.threads import one_thread_each
from holdfast.data.streaming.training import ImagePart
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.cost.counting import OperationCount, count_step_operations
from holdfast.trainer.cost.roofline import Roofline, measure_roofline, seconds_of
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.loop.data_parallel import DataParallel
from holdfast.trainer.loop.device import (
    compute_dtype,
    device_of,
    fast_kernels,
    precision_of,
    replicas_of,
    sync_every,
)
from holdfast.trainer.loop.networks import build_networks
from holdfast.trainer.loop.optim import build_optimiser, mean_weights_of, take_step
from holdfast.trainer.objectives import ImageBatch, Objective
from holdfast.trainer.state import checkpoint
from holdfast.trainer.tensors.tensor_file import size_of

COUNTED_SIZES = (4, 8)
"""Images of the two steps whose operations are counted."""
TIMED_STEPS = 3
"""Steps that are timed, after as many to warm up."""
TIMING_BUDGET_S = 6.0
"""Seconds that timing a stage may take by its operations. Of slower stages one step on few images is timed, if that may be."""


@dataclass(frozen=True, slots=True)
class StageDryRun:
    """What was found of a stage."""

    stage: Stage
    images: int
    """Images in a batch: those of the stage, or all there are."""

    step: OperationCount
    """Operations and bytes of a step."""

    seconds: float | None
    """Seconds of a step; None where it was not timed."""

    state: int
    """Bytes of the tensors in a checkpoint."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """What was found of a run, and what its device can do."""

    stages: tuple[StageDryRun, ...]
    roofline: Roofline


@dataclass(frozen=True, slots=True)
class StepContext:
    """What takes a step: the run's configuration, and the networks and data of one stage, on its device."""

    config: TrainConfig
    stage: Stage
    encoder: ImageEncoder
    objective: Objective
    optimiser: torch.optim.Optimizer
    train_set: ImageBatch

    def take(self, parallel: DataParallel, images: int) -> None:
        """Take a step on the first so many images, again from the first where there are fewer."""
        device = self.train_set.labels.device
        batch = self.train_set.at(torch.arange(images, device=device) % len(self.train_set))
        self.optimiser.zero_grad()
        generators = [torch.Generator(device).manual_seed(replica) for replica in range(parallel.replicas)]
        terms = parallel.backward(self.encoder, self.objective, batch, generators)
        if terms:
            take_step(terms, self.optimiser, self.stage)


def dry_run(config: TrainConfig, images: ImagePart) -> DryRun:
    """Take a few steps of every stage. Neither global random numbers nor anything in `config.out` is touched.

    Args:
        config: the run.
        images: what it will be trained on; a few of them are read.

    """
    device = device_of(config)
    roofline = measure_roofline(device, compute_dtype(precision_of(config, device)), replicas_of(config, device))
    cards = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(cards), one_thread_each(), fast_kernels(device):
        encoder, objectives = build_networks(replace(config, compile=False), images, device)
        contexts = (
            _context(config, stage, encoder, objective, images)
            for stage, objective in zip(config.stages, objectives, strict=True)
        )
        return DryRun(tuple(_dry_run_stage(context, len(images), roofline) for context in contexts), roofline)


def _context(config: TrainConfig, stage: Stage, encoder: ImageEncoder, objective: Objective, images: ImagePart) -> StepContext:
    device, size = device_of(config), min(stage.batch_size, len(images))
    # From all over the set: where images are sorted by class, the first few are of one.
    chosen = np.linspace(0, len(images) - 1, min(max(size, objective.min_images), len(images))).astype(np.int64)
    some = (images.pixels(chosen), images.labels[chosen])
    train_set = ImageBatch.whole(*(torch.from_numpy(each).to(device) for each in some))
    optimiser = build_optimiser(stage, encoder, objective, fused=sync_every(device) > 1)
    for module in (encoder, objective):
        module.train()
    objective.prepare(encoder, train_set, 1)
    return StepContext(config, stage, encoder, objective, optimiser, train_set)


def _dry_run_stage(context: StepContext, images: int, roofline: Roofline) -> StageDryRun:
    config, stage = context.config, context.stage
    device, size = device_of(config), min(stage.batch_size, images)
    precision = precision_of(config, device)
    with DataParallel(1, precision) as single:  # operators are counted in the thread that asks
        context.take(single, COUNTED_SIZES[0])  # the first step also allocates the optimiser's moments
        step = count_step_operations(lambda number: context.take(single, number), COUNTED_SIZES, size)
    with DataParallel(replicas_of(config, device), precision) as parallel:
        # At half of the roofline, which small maps hardly reach; once to warm up, and once timed.
        least, few = 2 * max(roofline.lower_bounds(step)), max(COUNTED_SIZES[0], 2 * parallel.replicas)
        if 2 * TIMED_STEPS * least <= TIMING_BUDGET_S:
            seconds: float | None = _timed(lambda: context.take(parallel, size), device)
        elif few < size and least * few / size <= TIMING_BUDGET_S:
            seconds = seconds_of(lambda: context.take(parallel, few), device, times=1) * size / few
        else:
            seconds = None
    mean = mean_weights_of(stage, context.encoder)
    states = checkpoint.states_of(context.encoder, context.objective, context.optimiser, mean)
    state = size_of(checkpoint.named(states, config.checkpoint_precision).values())
    return StageDryRun(stage, size, step, seconds, state)


def _timed(step: Callable[[], None], device: torch.device) -> float:
    seconds_of(step, device, times=TIMED_STEPS)
    return seconds_of(step, device, times=TIMED_STEPS)
