"""scikit-learn's digits: 1,197 training images of 8x8, enlarged to 32x32. Nothing is downloaded.

Times are of one core of an AMD EPYC with AVX512-BF16. Accuracies are those of `python -m holdfast.evaluation BUNDLE --images 0`
on all 400 test images: the ladder of white-box attacks, judged on the served vote, at L-inf 16/255.

    python -m trainer digits                           AMDIM, then label-free SSAT; the default
        60 CPU seconds. Clean 97.2 %, robust 78.8 %.
    python -m trainer digits-self-supervised           AMDIM alone, the first stage of digits
        22 CPU seconds. Clean 96.5 %, robust 0 %.
    python -m trainer digits-supervised                cross-entropy with labels
        9 CPU seconds. Clean 99.5 %, robust 0 %.
    python -m trainer digits-supervised-adversarial    cross-entropy on adversarial examples, with labels (Madry)
        28 CPU seconds. Clean 97.0 %, robust 85.8 %.

`digits --start-from runs/digits-self-supervised` takes its first stage from a finished run of digits-self-supervised.
"""

from dataclasses import replace
from pathlib import Path

from holdfast.trainer.augment import AugmentConfig
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.objectives import AmdimObjectiveConfig, SsatConfig, SupervisedAdversarialConfig, SupervisedConfig

# A mirrored digit is another sign, and grey images have no hue.
DIGITS_VIEWS = AugmentConfig(
    flip=0.0, translate=3, rotate=10.0, zoom=0.1, brightness=0.3, contrast=0.3, saturation=0.0, hue=0.0, grey=0.0
)
DIGITS_EPSILON = 16 / 255

_pretrain = Stage("amdim", AmdimObjectiveConfig(DIGITS_VIEWS), steps=120, learning_rate=3e-3)
_harden = Stage(
    "ssat",
    # Half as far again as the threat model: the attack in training is weaker than the one to withstand. At 32/255 the
    # views no longer resemble each other and the encoder loses its accuracy (88 %).
    SsatConfig(epsilon=24 / 255, steps=2, step_size=16 / 255, augment=DIGITS_VIEWS),
    steps=150,
    learning_rate=3e-3,
)

DIGITS = TrainConfig(
    encoder=ResNetConfig(width=32, blocks=1, dim=64, activation="silu"),
    stages=(_pretrain, _harden),
    out=Path("runs/digits"),
    data="digits",
    epsilon=DIGITS_EPSILON,
    k=15,
)
DIGITS_SELF_SUPERVISED = replace(DIGITS, stages=(_pretrain,), out=Path("runs/digits-self-supervised"))
DIGITS_SUPERVISED = replace(
    DIGITS,
    stages=(Stage("supervised", SupervisedConfig(DIGITS_VIEWS), steps=150),),
    out=Path("runs/digits-supervised"),
)
DIGITS_SUPERVISED_ADVERSARIAL = replace(
    DIGITS,
    stages=(
        Stage(
            "adversarial",
            SupervisedAdversarialConfig(epsilon=24 / 255, steps=3, step_size=10 / 255, augment=DIGITS_VIEWS),
            steps=180,
        ),
    ),
    out=Path("runs/digits-supervised-adversarial"),
)
