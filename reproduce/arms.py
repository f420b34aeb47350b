"""The arms of a comparison: training runs that differ in what is compared, each resumed where an earlier call stopped."""

import math
from dataclasses import dataclass, replace
from time import perf_counter as clock

from holdfast.console import Console
from holdfast.data import Splits
from holdfast.interrupts import TimeUpError
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.state import checkpoint
from holdfast.trainer.state.checkpoint import CheckpointError
from holdfast.trainer.train import train

SOON = 1e-3
"""Seconds that a training which has begun is given at least."""


@dataclass(frozen=True)
class Arm:
    """A training run of a comparison.

    Attributes:
        name: of its directory, and of its figures in the results.
        title: in tables and pictures.
        config: what is trained; its `out` is where.
        minutes: expected for it, without what it starts from.

    """

    name: str
    title: str
    config: TrainConfig
    minutes: float = 0.0


@dataclass(frozen=True)
class TrainedArm:
    """A finished run.

    Attributes:
        encoder: on the CPU, in evaluation mode, frozen.
        seconds: of training, in all calls.

    """

    encoder: ImageEncoder
    seconds: float


def is_finished(config: TrainConfig, data_sha256: str) -> bool:
    """Whether `config.out` holds the last checkpoint of this training; False where it holds an earlier one, or none.

    Raises:
        CheckpointError: it holds a checkpoint of another training, or a damaged one.

    """
    if not (config.out / checkpoint.FILE).is_file():
        return False
    found = checkpoint.load(config.out)
    checkpoint.refuse_another(found, config, data_sha256)
    return (found.position.stage + 1, found.position.step) == (len(config.stages), config.stages[-1].steps)


def train_arm(arm: Arm, splits: Splits, console: Console, *, deadline: float = math.inf) -> TrainedArm:
    """Train an arm to its end, from where an earlier call stopped; read it where it is finished.

    Args:
        arm: what is trained, and where.
        splits: the labelled images; only `splits.train` is read.
        console: where progress goes.
        deadline: value of `time.perf_counter` at which to pause.

    Raises:
        CheckpointError: its directory holds another training; nothing is overwritten.
        TimeUpError: the deadline has passed; a checkpoint has been written.
        DivergedError: see `holdfast.trainer.train`.

    """
    config = arm.config
    try:
        finished = is_finished(config, splits.sha256)
    except CheckpointError as error:
        raise CheckpointError(f"{config.out} cannot be continued; name another --out, or remove it.\n{error}") from error
    if not finished:
        check_deadline(deadline, arm.title)
        begun = (config.out / checkpoint.FILE).is_file()
        # At 0 a run would not stop, and a run that begins takes a step at least.
        minutes = 0.0 if deadline == math.inf else max(deadline - clock(), SOON) / 60
        start = None if begun else config.start_from
        train(replace(config, resume=begun, start_from=start, minutes=minutes), splits, console=console)
    return TrainedArm(checkpoint.load_encoder(config.out), checkpoint.load(config.out).position.seconds)


def check_deadline(deadline: float, part: str) -> None:
    """Stop before `part` where the time is over.

    Raises:
        TimeUpError: it is.

    """
    if clock() >= deadline:
        raise TimeUpError(f"the minutes are over, before {part}")
