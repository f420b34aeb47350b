"""The flagship, ResNet-18 in CIFAR's shape, for one H100.

    python -m trainer cifar10-resnet18 --data-dir DIR               TRADES with labels, as cifar10-small
        By its operation count about 20 minutes of the GPU, weeks of a CPU core. Meant to reach clean 84 %, robust 66 % at L-inf
        4/255 and 47 % at 8/255; cost and accuracy are estimates, not yet measured.
    python -m trainer cifar10-resnet18-label-free --data-dir DIR    SimCLR, then its neighbourhoods made robust; no labels
        By its operation count about 20 minutes of an H100, weeks of a CPU core. Less accurate and less robust is to be
        expected; not yet measured.

DIR holds cifar-10-batches-bin/.

A gradient of the encoder is 3 x 1.11 GFLOP, so an image costs SimCLR 2 x 3.33; TRADES and clusters 16.7 each: one pass for what
is to be kept, four steps of the attack at two passes each, and a gradient of the clean and the attacked image at three.
Learning rates are not searched; those of SimCLR and SGD are usual for CIFAR-10.

With labels: 5 epochs without attacks, 157 with. That is 129 PFLOP; at a quarter of the 989 TFLOP/s that the data sheet promises
for dense bfloat16, 9 minutes. Unfused, it moves about as many bytes as take 10 minutes at four fifths of the 3.35 TB/s. With
both in each other's way it may be 20; of 30, the rest is for index and evaluation. Without labels: 109 PFLOP for SimCLR and 103
for clusters, some 20 minutes likewise.

The embedding of the labelled one is 48 numbers, because a bundle that travels is at most 30 MB: weights take 22.4 in float16,
shared by all graphs; an index of 49,000 x 48 float16 numbers and their ids 5.1, and the report about 1.2.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

from holdfast.trainer.augment import WEAK
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.objectives import ClustersConfig, SimclrConfig, SupervisedConfig, TradesConfig

_large_batches = partial(Stage, batch_size=512, optimiser="sgd", weight_decay=5e-4)
_resnet18 = ResNetConfig(width=64, blocks=2, dim=48, activation="silu", stages=4)

CIFAR10_RESNET18 = TrainConfig(
    encoder=_resnet18,
    stages=(
        Stage("supervised", SupervisedConfig(WEAK), steps=500, batch_size=512),
        _large_batches(
            "trades",
            TradesConfig(epsilon=8 / 255, steps=4, step_size=3 / 255, robust_weight=5.0),
            steps=15_000,
            learning_rate=0.2,
            average=0.998,
        ),
    ),
    whitening=0.25,
    out=Path("runs/cifar10-resnet18"),
    half=True,
    data="cifar10",
    k=1000,
    weighting="exponential",
    temperature=0.05,
    # A checkpoint every 30 to 60 seconds; 54 MiB with momentum and mean.
    checkpoint_every=500,
    checkpoint_precision="float16",
    log_every=50,
)

CIFAR10_RESNET18_LABEL_FREE = replace(
    CIFAR10_RESNET18,
    encoder=replace(_resnet18, dim=64),
    stages=(
        _large_batches("simclr", SimclrConfig(), steps=32_000, learning_rate=0.24, warmup=0.02),
        _large_batches("clusters", ClustersConfig(steps=4, step_size=3 / 255), steps=12_000, learning_rate=0.2, warmup=0.1),
    ),
    whitening=0.0,
    out=Path("runs/cifar10-resnet18-label-free"),
    k=200,
    temperature=0.1,
)
