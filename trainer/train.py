"""The training loop.

    for each stage (objective, steps):
        for each step:
            draw a batch                             in a new random order every epoch
            terms <- objective(encoder, batch)       which draws views, attacks them, and relates them
            follow the gradient of their sum         Adam or SGD, learning rate by schedule
    return the encoder

A GPU is asked for several steps before the host looks at what came of them: waiting for each would leave it idle in between.
Every random number of a step comes from generators seeded with (seed, stage, step, share of the batch), so a run that was
interrupted goes on exactly as it would have.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter as clock

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from holdfast.attacks.search.threads import one_thread_each
from holdfast.data import LabelledImages, Splits
from holdfast.errors import HoldfastError
from holdfast.interrupts import TimeUpError
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import ImageEncoder, build_encoder
from holdfast.trainer.loop.averaging import MeanWeights
from holdfast.trainer.loop.data_parallel import Shares
from holdfast.trainer.loop.device import device_of, everything_of, fast_kernels, looks_every, precision_of, shares_of
from holdfast.trainer.loop.log import Log
from holdfast.trainer.loop.optim import Watch, learn, mean_of, optimiser_of, set_learning_rate
from holdfast.trainer.loop.sampling import draw, seed_of
from holdfast.trainer.objectives import Batch, Objective, build_objective
from holdfast.trainer.state import checkpoint
from holdfast.trainer.state.checkpoint import Checkpoint, Position


@dataclass(frozen=True, slots=True)
class Pace:
    """What this invocation did of a stage: how many images in how many seconds, checkpoints and all."""

    stage: str
    images: int
    seconds: float


class PausedError(TimeUpError):
    """The minutes of this invocation are over; a checkpoint says where to go on. `paces` are its stages so far."""

    def __init__(self, message: str, paces: tuple[Pace, ...]) -> None:
        super().__init__(message)
        self.paces = paces


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run leaves: the encoder in evaluation mode on the CPU, and what it took; `paces` are of this invocation alone."""

    encoder: ImageEncoder
    steps: int
    seconds: float
    paces: tuple[Pace, ...] = ()


def train(config: TrainConfig, splits: Splits, *, console: Console | None = None, begun: float | None = None) -> Trained:
    """Train an encoder as `config` says, writing checkpoint and log to `config.out`.

    Args:
        config: what to train.
        splits: the labelled images; only `splits.train` is looked at.
        console: where progress goes; nowhere by default.
        begun: what `time.perf_counter` said when `config.minutes` began to count; by default it is now.

    Raises:
        HoldfastError, CheckpointError: see `start_of`.
        DivergedError, PausedError: see `train_from`.

    """
    begun = clock() if begun is None else begun
    return train_from(start_of(config, splits), config, splits, console=console, begun=begun)


def start_of(config: TrainConfig, splits: Splits) -> Checkpoint | None:
    """Where a run begins: at the checkpoint that `config` asks for, or anew.

    Raises:
        HoldfastError: the images cannot make the index that is to be served; better said now than after the training.
        CheckpointError: `resume` or `start_from` without a checkpoint, or with one of another training.

    """
    refuse_useless(config, splits.train)
    return checkpoint.to_go_on_from(config, splits.sha256)


def train_from(
    found: Checkpoint | None, config: TrainConfig, splits: Splits, *, console: Console | None, begun: float
) -> Trained:
    """Train as `train` does, from what `start_of` found.

    Raises:
        DivergedError: a loss is not finite; the last checkpoint is intact.
        PausedError: `minutes` are over and the run is not; a checkpoint has been written.

    """
    deadline = begun + 60 * (config.minutes or math.inf)
    device = device_of(config)
    encoder, objectives = build(config, splits.train, device)
    start = found.position if found else Position(0, 0, 0.0)
    names = tuple(dict.fromkeys(name for objective in objectives for name in objective.names))
    with (
        one_thread_each(),
        fast_kernels(device),
        Log(config.out, names, seconds=start.seconds, console=console) as log,
        Shares(shares_of(config, device), precision_of(config, device)) as shares,
    ):
        loop = Loop(config, splits.sha256, encoder, everything_of(splits.train, device), shares, log, deadline, [])
        log.begin(stages_done(config, start) if found else {})
        for number in range(start.stage, len(objectives)):
            resumed = found if number == start.stage else None
            if number > start.stage:
                # What a stage learned besides the encoder, the next one goes on with, as far as it has the same.
                objectives[number].load_state_dict(objectives[number - 1].state_dict(), strict=False)
            loop.run(number, objectives[number], resumed)
        # What is exported is what the last checkpoint holds.
        encoder.load_state_dict(checkpoint.as_kept(encoder, config.checkpoint_precision))
        encoder = copy.deepcopy(encoder) if config.compile else encoder  # which is not compiled
        # Channels-last is for training; tracing a graph wants the usual layout.
        encoder.to(device="cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        return Trained(encoder.eval(), sum(stage.steps for stage in config.stages), log.seconds, tuple(loop.paces))


@dataclass(frozen=True, slots=True)
class Loop:
    """What all stages share."""

    config: TrainConfig
    data_sha256: str
    encoder: ImageEncoder
    everything: Batch
    shares: Shares
    log: Log
    deadline: float
    paces: list[Pace]

    def run(self, number: int, objective: Objective, resumed: Checkpoint | None) -> None:
        """Train for one stage, from its beginning or from a checkpoint within it."""
        stage, config = self.config.stages[number], self.config
        every = looks_every(self.everything.labels.device)
        optimiser = optimiser_of(stage, self.encoder, objective, fused=every > 1)
        mean, watch = mean_of(stage, self.encoder), Watch(stage)
        if resumed:
            resumed.restore(self.encoder, objective, optimiser, mean)
        done = resumed.position.step if resumed else 0
        generators = [torch.Generator(self.everything.labels.device) for _ in range(self.shares.number)]
        size, begun = min(stage.batch_size, len(self.everything)), self.log.seconds
        self.log.stage(stage.name, stage.steps, done)
        for module in (self.encoder, objective):
            module.train()
        for step in range(done + 1, stage.steps + 1):
            set_learning_rate(optimiser, stage, step)
            optimiser.zero_grad()
            terms = self.gradient(number, step, objective, generators)
            if terms:
                watch.add(step, learn(terms, optimiser, stage), optimiser.param_groups[0]["lr"])
            if mean:
                mean.update(self.encoder)
                if step == stage.steps:
                    self.encoder.load_state_dict(mean.module.state_dict())
            late = clock() >= self.deadline
            keep = step % config.checkpoint_every == 0 or step == stage.steps or late
            if keep or step % every == 0:
                self.tell(stage, step, watch)
            if keep:
                position = Position(number, step, self.log.seconds)
                checkpoint.save(config, self.data_sha256, position, states_of(self.encoder, objective, optimiser, mean))
            if late or step == stage.steps:
                self.paces.append(Pace(stage.name, (step - done) * size, self.log.seconds - begun))
            if late and (number, step) != (len(config.stages) - 1, stage.steps):
                over = f"{config.minutes:g} minutes are over after step {step:,} of stage {stage.name!r}"
                raise PausedError(over, tuple(self.paces))

    def gradient(
        self, number: int, step: int, objective: Objective, generators: Sequence[torch.Generator]
    ) -> dict[str, Tensor]:
        """Draw the batch of a step and add the gradient of its loss; returns the terms of the loss."""
        seed = self.config.seed
        for share, generator in enumerate(generators):
            generator.manual_seed(seed_of(seed, 1 + number, step, *[share][:share]))
        objective.prepare(self.encoder, self.everything, step)
        batch = draw(self.everything, self.config.stages[number], seed, step)
        return self.shares.backward(self.encoder, objective, batch, generators)

    def tell(self, stage: Stage, step: int, watch: Watch) -> None:
        """Look at what was measured up to `step`: move the bar, write the lines of log.csv that are due.

        Raises:
            DivergedError: something was not finite. Nothing has been kept since.

        """
        loss = 0.0
        for at, values in watch.look():
            loss = values["loss"]
            if at % self.config.log_every == 0 or at == stage.steps:
                self.log.write(stage.name, at, values)
        self.log.advance(step, loss)


def refuse_useless(config: TrainConfig, images: LabelledImages) -> None:
    """Refuse images that cannot make an index for the vote of `config`.

    Raises:
        HoldfastError: they are of one class, fewer than the neighbours that are to vote, or too few for the threads.

    """
    if len(np.unique(images.labels)) < 2:
        raise HoldfastError("all training images are of one class: there is nothing to tell apart; add images of another")
    if len(images) < config.k:
        raise HoldfastError(
            f"{len(images)} training images, and k = {config.k} neighbours are to vote: add images, or choose a smaller --k"
        )
    if len(images) < 2 * config.threads:
        raise HoldfastError(f"{len(images)} training images are too few for {config.threads} threads: choose fewer --threads")


def stages_done(config: TrainConfig, position: Position) -> dict[str, int]:
    """Steps that lie behind, by name of the stage."""
    begun = config.stages[: position.stage + 1]
    return {stage.name: stage.steps for stage in begun} | {begun[-1].name: position.step}


def build(config: TrainConfig, images: LabelledImages, device: torch.device) -> tuple[ImageEncoder, list[Objective]]:
    """The encoder and the objective of every stage, initialised by the seed alone."""
    torch.manual_seed(config.seed)
    encoder = build_encoder(config.encoder)
    encoder.normalise.fit(torch.from_numpy(images.images))
    objectives = [build_objective(stage.objective, encoder, len(images.class_names)) for stage in config.stages]
    for module in (encoder, *objectives):
        module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent in its stubs
        if config.compile:
            compile_encoders(module)
    return encoder, objectives


def compile_encoders(module: nn.Module) -> None:
    """Compile each encoder in `module`, a teacher for instance, in place: names stay, and copies are not compiled.

    Each size of batch has kernels of its own: there are few, and kernels for any size are slower.
    """
    for inner in module.modules():
        if isinstance(inner, ImageEncoder):
            inner.compile(dynamic=False)


def states_of(
    encoder: ImageEncoder, objective: Objective, optimiser: torch.optim.Optimizer, mean: MeanWeights | None
) -> dict[str, dict[str, Tensor]]:
    """All that a run within a stage must remember."""
    states = {"encoder": encoder.state_dict(), "objective": objective.state_dict(), "optimiser": checkpoint.moments(optimiser)}
    return states | ({"mean": mean.state_dict()} if mean else {})
