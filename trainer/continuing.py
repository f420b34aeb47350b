"""holdfast train RUN --continue-with DIR: a new run that goes on from a finished one with images that came in since.

Its first stages are RUN's, taken from there; one more learns from the images of DIR, without labels, and sees a tenth of what
RUN learned from again. What RUN's credibility is calibrated on and what it is tested on is not learned from, nor are near
duplicates, nor images that are unlike what RUN's index knows. The images that are kept are copied into the new run, so that it
can be resumed, and continued in its turn, when DIR has changed.
"""

from dataclasses import dataclass, fields, replace
from math import ceil
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.manifest import ContinuedRecord
from holdfast.bundle.reader import ENCODER, Bundle
from holdfast.console import Console, track
from holdfast.data import DataError, Splits
from holdfast.data.streams.arrivals import Arrivals, load_arrivals, no_arrivals
from holdfast.data.streams.screening import Screened, outliers, screen
from holdfast.errors import HoldfastError, ImageError
from holdfast.files import write_atomically
from holdfast.model.preprocess import InputContract, decode_image
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.encoders import GraphConfig
from holdfast.trainer.objectives import (
    ClustersConfig,
    LabelFreeConfig,
    ObjectiveConfig,
    PseudoLabelledConfig,
    SequentialConfig,
    SimclrConfig,
    SsatConfig,
)
from holdfast.trainer.objectives.attack import AttackConfig
from holdfast.trainer.state import checkpoint
from holdfast.trainer.state.checkpoint import CheckpointError
from holdfast.trainer.state.record import config_from

RECORD = "continued.json"
PASSES = 10
"""Over the images that came in; a quarter of each batch is of earlier ones."""
LEAST_STEPS = 50
SLOWER = 0.3
"""The learning rate, as a share of that of RUN's last stage: what is known is to be kept."""
AT_ONCE = 256
SHOWN_FROM = 1_000
NAMED_AT_MOST = 10


@dataclass(frozen=True)
class Continuation:
    """A run that goes on from another one.

    Attributes:
        config: of the new run.
        arrivals: all that came in, of earlier continuations as well.
        record: for the manifest.

    """

    config: TrainConfig
    arrivals: Arrivals
    record: ContinuedRecord

    def keep(self) -> None:
        """Write into the run's folder what it learns from, and where that comes from."""
        self.arrivals.save(self.config.out)
        write_atomically(self.config.out / RECORD, (self.record.model_dump_json(indent=2) + "\n").encode())


def parent_config(run: Path) -> TrainConfig:
    """What the finished run in a folder was asked to do.

    Raises:
        CheckpointError: there is none, it is damaged or not finished, this holdfast does not know what it asks for, or it
            hardened an encoder, which goes on by another command.

    """
    found = checkpoint.load(run)
    try:
        config = config_from(found.config)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"this holdfast cannot continue {run}, which asks for something else: {error}") from error
    if found.position.stage + 1 != len(config.stages) or found.position.step != config.stages[-1].steps:
        raise CheckpointError(f"{run} is not finished: finish it with --resume")
    if isinstance(config.encoder, GraphConfig):
        raise CheckpointError(
            f"{run} hardened an encoder that existed, and so can its outcome be: holdfast robustify --from {run} --data DIR"
        )
    return config


def asked_again(parent: TrainConfig, images: Path, out: Path, outlier_p: float) -> TrainConfig:
    """The parent's configuration for a new run into another folder."""
    anew = replace(parent, resume=False, resume_if_any=False, minutes=0.0, start_from=None)
    return replace(anew, out=out, continue_with=images, outlier_p=outlier_p)


def default_out(run: Path) -> Path:
    """Beside the run, its name counted up: runs/digits -> runs/digits-2 -> runs/digits-3."""
    name, _, number = run.resolve().name.rpartition("-")
    counted = f"{name}-{int(number) + 1}" if name and number.isdecimal() else f"{run.resolve().name}-2"
    return run.resolve().with_name(counted)


def begin_continuation(asked: TrainConfig, run: Path, splits: Splits, *, skip_unreadable: bool = False) -> Continuation:
    """Read and screen the images that came in, and plan what is learned from them.

    Args:
        asked: the parent's configuration with `out`, `continue_with` and `outlier_p` as they were asked for.
        run: the parent.
        splits: the labelled set of both.
        skip_unreadable: leave out files that are no images, instead of refusing.

    Raises:
        DataError: the folder holds no images, fewer than two that can be learned from, or files that are none.
        BundleError: RUN has no index yet, by which images unlike its own are told.

    """
    assert asked.continue_with is not None  # noqa: S101 - who calls it has seen to that
    bundle = Bundle.open(run)
    images = read_images(asked.continue_with, bundle.manifest.input, asked.max_pixels, skip_unreadable=skip_unreadable)
    screened = screen_by(bundle, images, asked.outlier_p, np.concatenate([splits.calibration.images, splits.test.images]))
    earlier = load_arrivals(run) or no_arrivals(images.shape[1:])
    try:
        arrivals = earlier.followed_by(images[screened.kept])
    except DataError as error:
        raise DataError(f"{asked.continue_with}: {describe_screening(screened)}; {error}") from None
    record = ContinuedRecord(
        parent=bundle.manifest.name,
        parent_sha256=bundle.manifest.files[ENCODER],
        images=int(screened.kept.sum()),
        chunk=asked.stream.chunks + len(earlier.sizes),
        sha256=arrivals.sha256(),
        held_out=screened.held_out,
        repeated=screened.repeated,
        outliers=screened.outliers,
    )
    return Continuation(continued_config(asked, run, record, len(splits.learned_from)), arrivals, record)


def continued_record(config: TrainConfig) -> ContinuedRecord | None:
    """Where what came in came from, as it lies in the run's folder; None of a run that goes on from no other.

    Raises:
        HoldfastError: it is damaged.

    """
    path = config.out / RECORD
    if not config.arrived or not path.is_file():
        return None
    try:
        return ContinuedRecord.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise HoldfastError(f"{path} is damaged: {error}; name another --out") from None


def resume_continuation(asked: TrainConfig, run: Path, splits: Splits) -> Continuation | None:
    """The same, as it lies in `out`; None where nothing was begun there. Raises HoldfastError where it is damaged."""
    arrivals = load_arrivals(asked.out)
    if arrivals is None:
        return None
    record = continued_record(replace(asked, arrived=arrivals.sha256()))
    if record is None:
        return None
    return Continuation(continued_config(asked, run, record, len(splits.learned_from)), arrivals, record)


def continued_config(asked: TrainConfig, run: Path, record: ContinuedRecord, known: int) -> TrainConfig:
    """The parent's configuration and one more stage.

    Args:
        asked: the parent's.
        run: where it lies.
        record: of what came in.
        known: images that the parent learned from.

    """
    last = asked.stages[-1]
    fresh = last.batch_size - last.batch_size // 4
    inner = inner_of(last.objective)
    if isinstance(inner, ClustersConfig):
        inner = replace(inner, prototypes=max(2, min(inner.prototypes, (record.images + known // 10) // 4)))
    stage = replace(
        last,
        name=f"chunk{record.chunk}",
        # Statistics of clean images are not those of an objective that attacks half of what it sees.
        objective=SequentialConfig(inner, batchnorm=not isinstance(inner, AttackConfig)),
        steps=max(LEAST_STEPS, ceil(PASSES * record.images / fresh)),
        learning_rate=SLOWER * last.learning_rate,
        chunk=record.chunk,
    )
    return replace(asked, stages=(*asked.stages, stage), start_from=run, arrived=record.sha256)


def inner_of(objective: ObjectiveConfig) -> LabelFreeConfig:
    """What a run goes on with where nobody has labels: its own objective if that reads none.

    Where labels and an attack made the encoder robust, its neighbourhoods are kept robust (`clusters`), with itself as the
    teacher and the same attack; where labels alone made it, SimCLR goes on with the same views.
    """
    if isinstance(objective, SequentialConfig):
        return objective.inner
    if isinstance(objective, PseudoLabelledConfig):
        return inner_of(objective.objective)
    if isinstance(objective, SsatConfig):
        return replace(objective, arm="label_free")
    if isinstance(objective, get_args(LabelFreeConfig)):
        return cast("LabelFreeConfig", objective)
    views: dict[str, Any] = {"augment": objective.augment} if hasattr(objective, "augment") else {}
    if isinstance(objective, AttackConfig):
        return ClustersConfig(**{field.name: getattr(objective, field.name) for field in fields(AttackConfig)}, **views)
    return SimclrConfig(**views)


def read_images(
    directory: Path, contract: InputContract, max_pixels: int, *, skip_unreadable: bool = False
) -> NDArray[np.uint8]:
    """All images of a folder, in the order of their names: uint8 [M, H, W, 3]. Files whose names begin with a dot are none.

    Raises:
        DataError: there is no such folder, it holds no images, or files that are none, unless these are to be skipped.

    """
    if not directory.is_dir():
        raise DataError(f"{directory} is no folder; name the one that holds the images, such as a server's --spool")
    paths = sorted(path for path in directory.rglob("*") if path.is_file() and not path.name.startswith("."))
    images, unreadable = [], []
    for path in track(paths, "reading", console=Console(stderr=True), transient=True, disable=len(paths) < SHOWN_FROM):
        try:
            images.append(decode_image(path.read_bytes(), contract, max_pixels=max_pixels))
        except ImageError as error:
            unreadable.append(f"{path.relative_to(directory)}: {error}")
    if unreadable and not skip_unreadable:
        listed = "\n  ".join(unreadable[:NAMED_AT_MOST])
        raise DataError(
            f"{len(unreadable)} of {len(paths)} files are no images:\n  {listed}\nleave them out by --skip-unreadable"
        )
    if not images:
        raise DataError(f"{directory} holds no images: there is nothing to go on with")
    return np.stack(images)


def screen_by(bundle: Bundle, images: NDArray[np.uint8], outlier_p: float, held_out: NDArray[np.uint8]) -> Screened:
    """Which images are learned from, by what the bundle knows: see `holdfast.data.streams.screening`."""
    classifier, calibration = bundle.classifier(), bundle.manifest.calibration
    parts = [images[start : start + AT_ONCE] for start in range(0, len(images), AT_ONCE)]
    p_values = np.concatenate([classifier.classify(part).kth_distance_p_value for part in parts])
    number = len(calibration.distances) if calibration else 0
    return screen(images, outliers(p_values, number, outlier_p), held_out)


def describe_screening(screened: Screened | ContinuedRecord) -> str:
    """What was left out, in a few words."""
    return (
        f"left out: {screened.repeated:,} near duplicates, {screened.outliers:,} unlike what the run knows,"
        f" {screened.held_out:,} that are held out"
    )
