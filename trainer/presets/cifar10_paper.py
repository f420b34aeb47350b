"""The recipe that the authors of SSAT released: 300 epochs of AMDIM at width 128, then 400 steps of guided SSAT.

    python -m trainer cifar10-paper --data-dir DIR     DIR holds cifar-10-batches-bin/

By its operation count hours of a GPU, weeks of a CPU core. Published: clean 83 % at the first checkpoint, 75 % at the last, and
70 to 87 % of these still right under the authors' own attack; not yet measured here.

The released epsilon of .03 is most probably in normalised units, that is about 2/255; here it is in pixels.
"""

from pathlib import Path

from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import AmdimConfig
from holdfast.trainer.objectives import AmdimObjectiveConfig, SsatConfig

CIFAR10_PAPER = TrainConfig(
    encoder=AmdimConfig(width=128, n_rkhs=128, depth=3),
    stages=(
        Stage("amdim", AmdimObjectiveConfig(), steps=73_500, batch_size=200, learning_rate=2e-4, warmup=0.007),
        Stage(
            "ssat",
            SsatConfig(arm="guided", epsilon=2 / 255, steps=10, step_size=0.3 / 255),
            steps=400,
            batch_size=100,
            learning_rate=1e-4,
        ),
    ),
    out=Path("runs/cifar10-paper"),
    data="cifar10",
    epsilon=2 / 255,
    k=75,
)
