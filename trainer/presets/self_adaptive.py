"""Labels of which some are wrong: self-adaptive training, and the label-free form of it.

    python -m trainer digits-self-adaptive             targets that follow the model, after a third of the training
        52 CPU seconds. Clean 99.0 %, robust 0 %.
    python -m trainer cifar10-self-adaptive --data-dir DIR
        60 epochs of a network of 12 MMAC, about 25 minutes of a core. Not yet measured: `python -m reproduce.self_adaptive`.
    python -m trainer cifar10-self-distilled --data-dir DIR
        label-free, 20 epochs of the same network, about 15 minutes of a core. Not yet measured either.

Measured as the presets of digits. Then `holdfast index RUN --labels adapted` gives exemplars the class that the training
believes in. `--label-noise 0.4` plants wrong labels, to see what becomes of them (docs/self-adaptive.md). None of these is
trained under attack.
"""

from dataclasses import replace
from pathlib import Path

from holdfast.trainer.augment import AugmentConfig
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.objectives import SelfAdaptiveConfig, SelfDistilledConfig
from holdfast.trainer.presets.digits import DIGITS

_STILL_COLOURS = AugmentConfig(flip=0.0, translate=3, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, grey=0.0)

DIGITS_SELF_ADAPTIVE = replace(
    DIGITS,
    stages=(Stage("adaptive", SelfAdaptiveConfig(augment=_STILL_COLOURS), steps=450),),
    out=Path("runs/digits-self-adaptive"),
)
CIFAR10_SELF_ADAPTIVE = TrainConfig(
    encoder=ResNetConfig(width=32, blocks=1, dim=128),
    stages=(
        Stage(
            "adaptive",
            SelfAdaptiveConfig(),
            steps=11_460,
            batch_size=256,
            optimiser="sgd",
            learning_rate=0.1,
            weight_decay=5e-4,
            warmup=0.02,
        ),
    ),
    out=Path("runs/cifar10-self-adaptive"),
    data="cifar10",
    epsilon=4 / 255,
    k=200,
)
CIFAR10_SELF_DISTILLED = replace(
    CIFAR10_SELF_ADAPTIVE,
    stages=(Stage("distil", SelfDistilledConfig(), steps=3_820, batch_size=256),),
    out=Path("runs/cifar10-self-distilled"),
)
