"""What a run leaves while it goes on: lines of log.csv, checkpoints, its throughput; and its end when its minutes are over."""

from dataclasses import dataclass, field

import torch

from holdfast.interrupts import TimeUpError
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.loop import processes
from holdfast.trainer.loop.averaging import MeanWeights
from holdfast.trainer.loop.log import Log
from holdfast.trainer.loop.optim import PendingMetrics
from holdfast.trainer.objectives import Objective, TrainingSet
from holdfast.trainer.state import checkpoint
from holdfast.trainer.state.checkpoint import Position


@dataclass(frozen=True, slots=True)
class Throughput:
    """What this invocation did of a stage: how many images in how many seconds, checkpoints included."""

    stage: str
    images: int
    seconds: float


class PausedError(TimeUpError):
    """The minutes of this invocation are over, and a checkpoint has been written. `throughputs` are of its stages so far."""

    def __init__(self, message: str, throughputs: tuple[Throughput, ...]) -> None:
        super().__init__(message)
        self.throughputs = throughputs


@dataclass(frozen=True, slots=True)
class StageState:
    """All that changes while a stage is trained, and where this invocation found it."""

    number: int
    stage: Stage
    encoder: ImageEncoder
    objective: Objective
    optimiser: torch.optim.Optimizer
    mean: MeanWeights | None
    """The mean of the encoder's weights, where the stage wants one."""

    metrics: PendingMetrics
    done: int
    """Steps that an earlier invocation has taken."""

    begun: float
    """Seconds of training before this invocation's first step of the stage."""

    images: int
    """Images in a batch."""

    learned: TrainingSet
    """What the stage learns from."""

    again: int
    """How many of these, the last ones, are of earlier chunks."""


@dataclass(frozen=True, slots=True)
class Recorder:
    """Writes down what comes of each step.

    Args:
        config: the run.
        data_sha256: of the labelled set; checkpoints are of one set.
        log: an open log.
        sync_every: steps between two looks at what was measured; each look waits for the device.

    """

    config: TrainConfig
    data_sha256: str
    log: Log
    sync_every: int
    throughputs: list[Throughput] = field(default_factory=list)
    """Of the stages that this invocation has finished, or was paused in."""

    def after_step(self, state: StageState, step: int, *, late: bool) -> None:
        """Log a step that was taken; write a checkpoint where one is due, at the end of the stage, or if it is `late`.

        Raises:
            DivergedError: something was not finite. Nothing has been kept since.
            PausedError: it is late, and this was not the last step of the run.

        """
        config, stage = self.config, state.stage
        last = step == stage.steps
        if processes.leads() and config.keep_every and (step % config.keep_every == 0 or last):
            states = checkpoint.states_of(state.encoder, state.objective, state.optimiser, state.mean)
            position = Position(state.number, step, self.log.seconds)
            checkpoint.keep(config, self.data_sha256, position, states)
        keep = step % config.checkpoint_every == 0 or last or late
        if keep or step % self.sync_every == 0:
            self._log(state, step)
        if keep:
            self._save(state, step)
        if late or last:
            seconds = self.log.seconds - state.begun
            self.throughputs.append(Throughput(stage.name, (step - state.done) * state.images, seconds))
        if late and (state.number, step) != (len(config.stages) - 1, stage.steps):
            over = f"{config.minutes:g} minutes are over after step {step:,} of stage {stage.name!r}"
            raise PausedError(over, tuple(self.throughputs))

    def _save(self, state: StageState, step: int) -> None:
        if processes.leads():
            states = checkpoint.states_of(state.encoder, state.objective, state.optimiser, state.mean)
            position = Position(state.number, step, self.log.seconds)
            checkpoint.save(self.config, self.data_sha256, position, states)

    def _log(self, state: StageState, step: int) -> None:
        """Read what was measured up to `step`: move the progress bar, write the lines of log.csv that are due."""
        loss = 0.0
        for at, values in state.metrics.read():
            loss = values["loss"]
            if at % self.config.log_every == 0 or at == state.stage.steps:
                self.log.write(state.stage.name, at, values)
        self.log.advance(step, loss)
