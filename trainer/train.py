"""The training loop.

    for each stage (objective, steps):
        for each step:
            draw a batch                             of the set, or of a chunk and what is seen again; a new order every epoch
            terms <- objective(encoder, batch)       which draws views, attacks them, and relates them
            follow the gradient of their sum         Adam or SGD, learning rate by schedule
            update the mean of the weights           which is what a stage leaves, where it asks for a mean
    return the encoder

A GPU is given several steps before the host reads what was measured: waiting after each would leave it idle in between.
Every random number of a step comes from generators seeded with (seed, stage, step, shard of the batch), so a run that was
interrupted and resumed is exactly the uninterrupted run.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter as clock

import numpy as np
import torch

from holdfast.attacks.search.threads import one_thread_each
from holdfast.bundle.beliefs import BELIEFS, Beliefs
from holdfast.console import Console
from holdfast.data import Splits
from holdfast.data.noise import list_of_noise
from holdfast.data.streaming.training import ImagePart, TrainingSplits
from holdfast.errors import HoldfastError
from holdfast.files import write_atomically
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.encoders import GraphConfig, ImageEncoder
from holdfast.trainer.loop import processes
from holdfast.trainer.loop.averaging import batches_for, estimate_statistics
from holdfast.trainer.loop.data_parallel import DataParallel
from holdfast.trainer.loop.device import device_of, fast_kernels, precision_of, replicas_of, sync_every
from holdfast.trainer.loop.log import Log
from holdfast.trainer.loop.networks import build_networks
from holdfast.trainer.loop.optim import PendingMetrics, build_optimiser, mean_weights_of, set_learning_rate, take_step
from holdfast.trainer.loop.recorder import Recorder, StageState, Throughput
from holdfast.trainer.loop.sampling import draw, places_of, seed_generators, seed_of
from holdfast.trainer.loop.stream import StageRows, arrivals_of, learned_from, stage_rows, training_set
from holdfast.trainer.objectives import ImageBatch, Objective, TrainingSet
from holdfast.trainer.objectives.head import LearnedHead
from holdfast.trainer.state import checkpoint
from holdfast.trainer.state.checkpoint import Checkpoint, Position

NOISE = "label_noise.csv"
"""Beside a run whose labels have noise: the images whose label was drawn anew, with the true class and the given one."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run leaves: the encoder, in evaluation mode on the CPU, and what it took."""

    encoder: ImageEncoder
    steps: int
    """Steps of all stages."""

    seconds: float
    """Seconds of training, of all invocations."""

    throughputs: tuple[Throughput, ...] = ()
    """Of this invocation alone."""

    head: LearnedHead | None = None
    """What the last stage classified embeddings with, on the CPU; None where it classified nothing."""


def train(
    config: TrainConfig, splits: TrainingSplits, *, console: Console | None = None, begun: float | None = None
) -> Trained:
    """Train an encoder as `config` says, writing checkpoint and log to `config.out`.

    Args:
        config: what to train.
        splits: the images; only `splits.learned_from` is read.
        console: where progress goes; nowhere by default.
        begun: value of `time.perf_counter` from which `config.minutes` count; by default it is now.

    Raises:
        HoldfastError, CheckpointError: see `starting_point`.
        DivergedError, PausedError: see `train_from`.

    """
    begun = clock() if begun is None else begun
    return train_from(starting_point(config, splits), config, splits, console=console, begun=begun)


def starting_point(config: TrainConfig, splits: TrainingSplits) -> Checkpoint | None:
    """Where a run begins: at the checkpoint that `config` asks for; None for a new run.

    Raises:
        HoldfastError: the images cannot make the index that is to be served, or not the chunks that are to be learned from;
            better said now than after the training.
        CheckpointError: `resume` or `start_from` without a checkpoint, or with one of another training.

    """
    check_images(config, splits.train)
    if (images := len(splits.learned_from)) < 2 * config.threads:
        raise HoldfastError(f"{images} training images are too few for {config.threads} threads: choose fewer --threads")
    stage_rows(config, splits.learned_from, arrivals_of(config), [0.0] * len(config.stages))
    processes.refuse_small_batches(config)
    return checkpoint.checkpoint_to_resume(config, splits.sha256)


def train_from(
    found: Checkpoint | None, config: TrainConfig, splits: TrainingSplits, *, console: Console | None, begun: float
) -> Trained:
    """Train as `train` does, from what `starting_point` found.

    Raises:
        DivergedError: a loss is not finite; the last checkpoint is intact.
        PausedError: `minutes` are over and the run is not; a checkpoint has been written.

    """
    deadline = begun + 60 * (config.minutes or math.inf)
    device = device_of(config)
    arrivals = arrivals_of(config)
    images, unlabelled = splits.learned_from, len(arrivals) if arrivals else 0
    encoder, objectives = build_networks(config, images, device, unlabelled)
    for stage, objective in zip(config.stages, objectives, strict=True):
        processes.refuse_memories(objective, stage.name)
    rows = stage_rows(config, images, arrivals, [objective.replay for objective in objectives])
    start = found.position if found else Position(0, 0, 0.0)
    names = tuple(dict.fromkeys(name for objective in objectives for name in columns_of(objective)))
    with (
        one_thread_each(),
        fast_kernels(device),
        Log(config.out, names, seconds=start.seconds, console=console, writes=processes.leads()) as log,
        DataParallel(replicas_of(config, device), precision_of(config, device), joined=True) as parallel,
    ):
        log.begin(stages_done(config, start) if found else {})
        if processes.leads():
            leave_noise(config, splits)
        recorder = Recorder(config, splits.sha256, log, sync_every(device))
        training = TrainingRun(config, training_set(config, images, arrivals, device), rows, parallel, recorder, deadline)
        for number in range(start.stage, len(objectives)):
            if number > start.stage:
                training.follow(number, encoder, objectives)
            training.run_stage(training.begin(number, encoder, objectives[number], found if number == start.stage else None))
        encoder, head = as_exported(encoder, config), head_as_exported(objectives[-1], config)
        steps = sum(stage.steps for stage in config.stages)
        return Trained(encoder, steps, log.seconds, tuple(recorder.throughputs), head)


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What all stages of a run share."""

    config: TrainConfig
    train_set: TrainingSet
    rows: list[StageRows]
    parallel: DataParallel
    recorder: Recorder
    deadline: float

    def follow(self, number: int, encoder: ImageEncoder, objectives: list[Objective]) -> None:
        """What a stage learned besides the encoder, the next one goes on with, as far as it has the same; and looks back."""
        objectives[number].load_state_dict(objectives[number - 1].state_dict(), strict=False)
        before = torch.from_numpy(self.rows[number].before).to(self.train_set.labels.device)
        objectives[number].begin(encoder, self.train_set, before)

    def begin(self, number: int, encoder: ImageEncoder, objective: Objective, resumed: Checkpoint | None) -> StageState:
        """A stage before its first step, or where a checkpoint within it left off."""
        stage, recorder = self.config.stages[number], self.recorder
        optimiser = build_optimiser(stage, encoder, objective, fused=recorder.sync_every > 1)
        mean = mean_weights_of(stage, encoder)
        if resumed:
            resumed.restore(encoder, objective, optimiser, mean)
        done = resumed.position.step if resumed else 0
        rows, learned = self.rows[number], learned_from(self.train_set, self.rows[number])
        size, begun = min(stage.batch_size, len(learned)), recorder.log.seconds
        recorder.log.stage(stage.name, stage.steps, done)
        metrics = PendingMetrics(stage)
        again = len(rows.replayed)
        return StageState(number, stage, encoder, objective, optimiser, mean, metrics, done, begun, size, learned, again)

    def run_stage(self, state: StageState) -> None:
        """Take the steps of a stage."""
        stage, encoder, objective, optimiser = state.stage, state.encoder, state.objective, state.optimiser
        seed, first = self.config.seed, state.done + 1
        batches = state.learned.batches(
            processes.part_of(places_of(state.learned, stage, seed, step, state.again))
            for step in range(first, stage.steps + 1)
        )
        shard = self.parallel.replicas * processes.number()
        generators = [torch.Generator(self.train_set.labels.device) for _ in range(self.parallel.replicas)]
        for module in (encoder, objective):
            module.train()
        for step, batch in zip(range(first, stage.steps + 1), batches, strict=False):
            set_learning_rate(optimiser, stage, step)
            optimiser.zero_grad()
            seed_generators(generators, seed, state.number, step, shard)
            objective.prepare(encoder, state.learned, step)
            if step == first:
                processes.make_alike(encoder, objective)
            terms = self.parallel.backward(encoder, objective, batch, generators)
            if terms:
                measured = take_step(terms, optimiser, stage)
                measured |= {name: value.clone() for name, value in objective.watched().items()}
                state.metrics.add(step, measured, optimiser.param_groups[0]["lr"])
            if state.mean:
                state.mean.update(encoder)
            if step == stage.steps:
                self._finish(state)
            self.recorder.after_step(state, step, late=self._is_late())
        self._leave_beliefs(state)

    def _is_late(self) -> bool:
        """Whether the minutes are over: the first process decides for all."""
        if math.isinf(self.deadline):
            return False
        return processes.decided(answer=clock() >= self.deadline, device=self.train_set.labels.device)

    def _finish(self, state: StageState) -> None:
        """Make of the last step's encoder what the stage leaves."""
        seed = seed_of(self.config.seed, 1 + state.number)
        if state.mean:
            state.encoder.load_state_dict(state.mean.module.state_dict())
            estimate_statistics(state.encoder, state.objective, self._next_batches(state))
        state.objective.finish(state.encoder, state.learned, seed)

    def _next_batches(self, state: StageState) -> Iterator[tuple[ImageBatch, torch.Generator]]:
        """The batches that would come next, were the stage longer, with what their views would be drawn by."""
        stage, generator = state.stage, torch.Generator(self.train_set.labels.device)
        for step in range(stage.steps + 1, stage.steps + 1 + batches_for(stage.steps)):
            seed_generators([generator], self.config.seed, state.number, step)
            yield draw(state.learned, stage, self.config.seed, step, state.again), generator

    def _leave_beliefs(self, state: StageState) -> None:
        """Leave beside the run what the stage believes of its images, where it believes something."""
        believed = state.objective.beliefs(state.encoder, self.train_set)
        if believed is not None and processes.leads():
            Beliefs(believed.cpu().numpy(), self.recorder.data_sha256).save(self.config.out)


def columns_of(objective: Objective) -> tuple[str, ...]:
    """What an objective adds to the log: its terms, what it watches, and the gradient norms of its players."""
    return (*objective.names, *objective.watched(), *(player.column for player in objective.players()))


def leave_noise(config: TrainConfig, splits: TrainingSplits) -> None:
    """Leave beside the run which labels are not the true ones, where noise was planted on purpose."""
    if isinstance(splits, Splits) and splits.noise is not None:
        write_atomically(config.out / NOISE, list_of_noise(splits.noise, splits.train))
    if not checkpoint.resumes(config):
        (config.out / BELIEFS).unlink(missing_ok=True)  # of another run


def check_images(config: TrainConfig, images: ImagePart) -> None:
    """Refuse images that cannot make an index for the vote of `config`.

    Raises:
        HoldfastError: they are of one class, or fewer than the neighbours that are to vote.

    """
    if isinstance(config.encoder, GraphConfig):
        return  # another set may become the index
    if len(np.unique(images.labels)) < 2:
        raise HoldfastError("all training images are of one class: there is nothing to tell apart; add images of another")
    if len(images) < config.k:
        raise HoldfastError(
            f"{len(images)} training images, and k = {config.k} neighbours are to vote: add images, or choose a smaller --k"
        )


def stages_done(config: TrainConfig, position: Position) -> dict[str, int]:
    """Steps that have been taken, by name of the stage."""
    begun = config.stages[: position.stage + 1]
    return {stage.name: stage.steps for stage in begun} | {begun[-1].name: position.step}


def as_exported(encoder: ImageEncoder, config: TrainConfig) -> ImageEncoder:
    """The trained encoder as the last checkpoint holds it: on the CPU, in evaluation mode, not compiled."""
    encoder.load_state_dict(checkpoint.as_kept(encoder, config.checkpoint_precision))
    encoder = copy.deepcopy(encoder) if config.compile else encoder  # a copy is not compiled
    # Channels-last is for training; tracing a graph wants the usual layout.
    encoder.to(device="cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return encoder.exported().eval()


def head_as_exported(objective: Objective, config: TrainConfig) -> LearnedHead | None:
    """What the last stage classified with, as the last checkpoint holds it and on the CPU."""
    objective.load_state_dict(checkpoint.as_kept(objective, config.checkpoint_precision))
    return objective.cpu().classifier_head()
