"""Named training runs. Each states its command, its cost, and what it reaches.

Costs are CPU seconds on a core of an AMD EPYC (Zen 4, AVX512-BF16). Robust accuracy is that of `python -m
trainer.evaluate`: the worst, image by image, of white-box PGD-40 on whole-bank soft-kNNs at four temperatures.
"""

from dataclasses import replace
from pathlib import Path

from trainer.augment import AugmentConfig
from trainer.config import Stage, TrainConfig
from trainer.encoders import ResNetConfig
from trainer.objectives import AmdimObjectiveConfig, SsatConfig, SupervisedConfig

# A mirrored digit is another sign, and grey images have no hue.
DIGITS_VIEWS = AugmentConfig(
    flip=0.0, translate=3, rotate=10.0, zoom=0.1, brightness=0.3, contrast=0.3, saturation=0.0, hue=0.0, grey=0.0
)
DIGITS_EPSILON = 16 / 255

_digits_pretrain = Stage("amdim", AmdimObjectiveConfig(DIGITS_VIEWS), steps=180)
_digits_harden = Stage(
    "ssat",
    SsatConfig(epsilon=24 / 255, steps=3, step_size=10 / 255, augment=DIGITS_VIEWS),
    steps=150,
)

DIGITS = TrainConfig(
    encoder=ResNetConfig(width=32, blocks=1, dim=64),
    stages=(_digits_pretrain, _digits_harden),
    out=Path("runs/digits"),
    data="digits",
    epsilon=DIGITS_EPSILON,
    k=15,
)
DIGITS_SELF_SUPERVISED = replace(DIGITS, stages=(_digits_pretrain,), out=Path("runs/digits-self-supervised"))
DIGITS_SUPERVISED = replace(
    DIGITS,
    stages=(Stage("supervised", SupervisedConfig(DIGITS_VIEWS), steps=180),),
    out=Path("runs/digits-supervised"),
)

CIFAR10_SMALL = TrainConfig(
    encoder=ResNetConfig(width=48, blocks=1, dim=128, activation="silu"),
    stages=(
        Stage("amdim", AmdimObjectiveConfig(), steps=900, batch_size=256),
        Stage("ssat", SsatConfig(epsilon=8 / 255, steps=3, step_size=4 / 255), steps=300, batch_size=256),
    ),
    out=Path("runs/cifar10-small"),
    data="cifar10",
    epsilon=4 / 255,
    k=75,
    weighting="exponential",
)

DEFAULT = "digits"

PRESETS: dict[str, tuple[str, TrainConfig]] = {
    DEFAULT: ("", DIGITS),
    "digits-self-supervised": ("", DIGITS_SELF_SUPERVISED),
    "digits-supervised": ("", DIGITS_SUPERVISED),
    "cifar10-small": ("", CIFAR10_SMALL),
}
