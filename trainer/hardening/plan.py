"""From what a person asks for to a training run: methods, their defaults, and the size of steps."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any, Literal

from holdfast.bundle.manifest import HardeningRecord
from holdfast.bundle.threat_model import Norm
from holdfast.data.sets import NAMES
from holdfast.data.streaming.training import TrainingSplits
from holdfast.errors import HoldfastError
from holdfast.trainer.augment import WEAK
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.objectives import DeaclConfig, FareConfig, ObjectiveConfig, SsatConfig, TradesConfig
from holdfast.trainer.state.source import ParentBundle

Method = Literal["fare", "deacl", "ssat", "trades"]

METHODS: Mapping[Method, ObjectiveConfig] = {
    "fare": FareConfig(),
    "deacl": DeaclConfig(),
    "ssat": SsatConfig(arm="taught"),
    "trades": TradesConfig(prototypes="means"),
}

EPOCHS, LEAST_STEPS, MOST_STEPS = 10, 100, 20_000
BATCH, BATCH_PIXELS, LEAST_BATCH = 128, 128 * 96 * 96, 8
RATE, ADAPTERS_RATE = 2e-5, 2e-4
BETAS = (0.9, 0.999)
WARMUP = 0.1


@dataclass(frozen=True, kw_only=True)
class HardeningOptions:
    """What the flags of holdfast robustify say; None where one says nothing. See its --help."""

    parent: Path
    data: str
    data_dir: Path | None
    out: Path
    method: Method
    skip_unreadable: bool
    max_pixels: int
    norm: Norm
    epsilon: float
    attack_steps: int
    step_size: float | None
    steps: int | None
    batch_size: int | None
    learning_rate: float | None
    weight_decay: float
    average: float
    clean_weight: float
    robust_weight: float | None
    flip: float
    freeze: int
    train_last: int | None
    adapters: int
    checkpoint_activations: int
    half: bool
    seed: int
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["bfloat16", "float32"]
    threads: int
    checkpoint_every: int
    log_every: int
    estimate_cost: bool
    resume: bool
    resume_if_any: bool
    minutes: float


def with_frozen_layers(parent: ParentBundle, asked: HardeningOptions) -> HardeningOptions:
    """The same, with --train-last as a number of layers to freeze.

    Raises:
        HoldfastError: both were said, there are not so many layers, or the run would take the bundle's own place.

    """
    if asked.out.resolve() == parent.directory.resolve():
        raise HoldfastError(f"{asked.out} is the bundle itself, which stays as it is: name another directory by --out")
    if asked.train_last is None:
        return asked
    if asked.freeze:
        raise HoldfastError("--freeze names the first layers and --train-last the others: choose one")
    if asked.train_last > parent.layers:
        raise HoldfastError(f"the encoder has {parent.layers} layers with weights: --train-last {asked.train_last} is more")
    return replace(asked, freeze=parent.layers - asked.train_last)


def hardening_config(parent: ParentBundle, asked: HardeningOptions, splits: TrainingSplits | None) -> TrainConfig:
    """The run; without `splits` as far as it is needed to read these.

    Raises:
        HoldfastError: what is asked for cannot be done.

    """
    try:
        return _config(parent, asked, splits)
    except ValueError as error:
        raise HoldfastError(str(error)) from None


def _config(parent: ParentBundle, asked: HardeningOptions, splits: TrainingSplits | None) -> TrainConfig:
    images, classes = (len(splits.learned_from), len(splits.train.class_names)) if splits else (0, 2)
    if asked.method == "trades" and classes < 2:
        raise HoldfastError(
            f"trades reads labels, and {asked.data} has none: make a folder of each class, or take --method fare"
        )
    named, vote = asked.data in NAMES, parent.manifest.vote
    return TrainConfig(
        encoder=parent.config(
            asked.out,
            frozen_layers=asked.freeze,
            adapters=asked.adapters,
            segments=asked.checkpoint_activations,
        ),
        stages=(_stage(parent, asked, images),),
        out=asked.out,
        data=asked.data if named else "folder",  # type: ignore[arg-type]  # which mypy cannot see
        data_dir=asked.data_dir if named else Path(asked.data),
        skip_unreadable=asked.skip_unreadable,
        max_pixels=asked.max_pixels,
        half=asked.half,
        norm=asked.norm,
        epsilon=asked.epsilon,
        k=vote.k,
        weighting=vote.weighting,
        temperature=vote.temperature,
        surrogate_tau=parent.manifest.surrogate_tau,
        seed=asked.seed,
        device=asked.device,
        precision=asked.precision,
        threads=asked.threads,
        checkpoint_every=asked.checkpoint_every,
        log_every=asked.log_every,
        estimate_cost=asked.estimate_cost,
        resume=asked.resume,
        resume_if_any=asked.resume_if_any,
        minutes=asked.minutes,
    )


def _stage(parent: ParentBundle, asked: HardeningOptions, images: int) -> Stage:
    height, width = parent.manifest.input.size
    fitting = BATCH_PIXELS // (height * width)
    batch = asked.batch_size or max(LEAST_BATCH, 2 * asked.threads, min(BATCH, fitting))
    steps = asked.steps or min(max(ceil(EPOCHS * images / batch), LEAST_STEPS), MOST_STEPS)
    rate = asked.learning_rate or (ADAPTERS_RATE if asked.adapters else RATE)
    return Stage(
        asked.method,
        _objective(asked),
        steps=steps,
        batch_size=batch,
        learning_rate=rate,
        weight_decay=asked.weight_decay,
        betas=BETAS,
        warmup=WARMUP,
        average=asked.average,
    )


def _objective(asked: HardeningOptions) -> ObjectiveConfig:
    length = 2.5 * asked.epsilon / asked.attack_steps if asked.step_size is None else asked.step_size
    changed: dict[str, Any] = {"norm": asked.norm, "epsilon": asked.epsilon, "steps": asked.attack_steps, "step_size": length}
    changed["augment"] = replace(WEAK, flip=asked.flip)
    if asked.clean_weight:
        changed["clean_weight"] = asked.clean_weight
    if asked.robust_weight is not None:
        changed["robust_weight"] = asked.robust_weight
    try:
        return replace(METHODS[asked.method], **changed)
    except TypeError:
        unused = "--clean-weight" if asked.clean_weight and asked.method != "fare" else "--robust-weight"
        raise HoldfastError(f"{unused} says nothing to {asked.method}: leave it out") from None


def record_of(parent: ParentBundle, asked: HardeningOptions) -> HardeningRecord:
    """What the bundle will say of how it was hardened."""
    return HardeningRecord(
        parent=parent.manifest.name,
        parent_sha256=parent.encoder_sha256,
        method=asked.method,
        norm=asked.norm,
        epsilon=asked.epsilon,
        frozen_layers=asked.freeze,
        adapters=asked.adapters,
    )
