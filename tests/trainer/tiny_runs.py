"""Training runs of a few steps on random images, and runs that are interrupted."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast.data import LabelledImages, Splits
from holdfast.trainer import train
from holdfast.trainer.augment import AugmentConfig
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import ImageEncoder, ResNetConfig
from holdfast.trainer.objectives import AmdimObjectiveConfig, SsatConfig

SMALL = AugmentConfig(rotate=5)


def splits(n: int = 40) -> Splits:
    """n random images of two classes."""
    random = np.random.default_rng(0)

    def some(count: int) -> LabelledImages:
        images = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        return LabelledImages(images, np.arange(count) % 2, ("a", "b"), [str(i) for i in range(count)])

    return Splits(some(n), some(4), some(4))


def two_stages(out: Path) -> TrainConfig:
    """Four steps of AMDIM, then five of guided SSAT."""
    ssat = SsatConfig(arm="guided", epsilon=0.3, step_size=0.2, steps=2, refresh=2, k=1)
    return TrainConfig(
        encoder=ResNetConfig(4, 1, 8),
        stages=(
            Stage("amdim", AmdimObjectiveConfig(SMALL), steps=4, batch_size=16),
            Stage("ssat", ssat, steps=5, batch_size=16),
        ),
        out=out,
        checkpoint_every=2,
        log_every=1,
        device="cpu",
    )


def same(one: ImageEncoder, other: ImageEncoder) -> bool:
    """Whether two encoders are equal to the bit."""
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def twice(config: TrainConfig, monkeypatch: pytest.MonkeyPatch, steps: int) -> tuple[train.Trained, train.Trained, TrainConfig]:
    """The run in one go, and the same run interrupted after `steps` and resumed, with the config of the resumed one."""
    whole = train.train(config, splits())
    broken = replace(config, out=config.out.with_name("broken"))
    interrupted(monkeypatch, broken, splits(), steps)
    resumed = replace(broken, resume=True)
    return whole, train.train(resumed, splits()), resumed


def interrupted(monkeypatch: pytest.MonkeyPatch, config: TrainConfig, images: Splits, steps: int) -> None:
    """Train until a ctrl-c after so many steps."""
    take_step, taken = train.take_step, []

    def take_step_or_stop(*arguments):
        taken.append(1)
        if len(taken) > steps:
            raise KeyboardInterrupt
        return take_step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(train, "take_step", take_step_or_stop)
        with pytest.raises(KeyboardInterrupt):
            train.train(config, images)


def rows(config: TrainConfig) -> list[dict[str, str]]:
    """The lines of log.csv, but for the seconds."""
    with (config.out / "log.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]
