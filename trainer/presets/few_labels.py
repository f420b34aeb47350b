"""From few labels: UGAN on the grey sets, and TRADES after it on the labels that it guesses.

    python -m trainer digits-few-labels                     50 labels of 1,197; nothing is downloaded
        About 2 minutes of one CPU core. Clean 94.2 %, robust 0 % at L-inf 16/255.
    python -m trainer digits-few-labels-robust              the same, then TRADES on the labels that it guesses
        About 3 minutes of one CPU core. Clean 94.8 %, robust 85.0 % at L-inf 16/255.
    python -m trainer mnist-few-labels --data-dir DIR       100 labels of 59,000; DIR holds MNIST's four files
        About two hours of one core, estimated by a few steps; not yet measured.
    python -m trainer mnist-few-labels-robust --data-dir DIR
        About three hours, likewise; not yet measured.

After each `holdfast index RUN --pseudo .95`, which makes exemplars of images without a label, too. Calibration images keep
their labels. Times are on an AMD EPYC with AVX512-BF16, estimated by the CPU time of a few steps. Accuracies are of
`holdfast evaluate RUN --images 0 --epsilon 16/255`: all 400 test images, the ladder of white-box attacks on the served vote.
"""

from dataclasses import replace
from pathlib import Path

from holdfast.trainer.augment import AugmentConfig
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.objectives import PseudoLabelledConfig, TradesConfig, UganConfig

# Shifts of a pixel or two make no other digit of one.
_SHIFTS = AugmentConfig(flip=0.0, translate=2, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, grey=0.0)

_players = Stage(
    "ugan",
    UganConfig(rate=1.0, average=0.98),
    steps=600,
    batch_size=100,
    learning_rate=1e-3,
    schedule="constant",
    betas=(0.5, 0.999),
    weight_decay=0.0,
    # .98 for 600 steps: a longer mean would still hold the first weights.
    average=0.98,
)
_trades = TradesConfig(epsilon=24 / 255, steps=3, step_size=12 / 255, robust_weight=4.0, augment=_SHIFTS)

DIGITS_FEW_LABELS = TrainConfig(
    encoder=ResNetConfig(width=16, blocks=1, dim=64, activation="silu"),
    stages=(_players,),
    out=Path("runs/digits-few-labels"),
    data="digits",
    labels=50,
    epsilon=16 / 255,
    k=3,
    weighting="exponential",
)
DIGITS_FEW_LABELS_ROBUST = replace(
    DIGITS_FEW_LABELS,
    stages=(_players, Stage("trades", PseudoLabelledConfig(_trades), steps=300, batch_size=100, average=0.98)),
    out=Path("runs/digits-few-labels-robust"),
)

_long = replace(_players, objective=UganConfig(rate=3.0, average=0.999), steps=36_000, learning_rate=3e-4, average=0.999)
MNIST_FEW_LABELS = replace(
    DIGITS_FEW_LABELS, stages=(_long,), out=Path("runs/mnist-few-labels"), data="mnist", labels=100, epsilon=0.1
)
MNIST_FEW_LABELS_ROBUST = replace(
    MNIST_FEW_LABELS,
    stages=(
        _long,
        Stage(
            "trades",
            PseudoLabelledConfig(replace(_trades, epsilon=0.15, steps=3, step_size=0.07)),
            steps=6_000,
            batch_size=128,
            average=0.998,
        ),
    ),
    out=Path("runs/mnist-few-labels-robust"),
)
