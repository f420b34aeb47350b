"""How large the comparison is: the same arms and the same claims."""

from dataclasses import dataclass
from typing import Literal

from holdfast.data import DataName
from holdfast.trainer.augment import WEAK
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.encoders.activations import Activation
from holdfast.trainer.objectives import SupervisedAdversarialConfig
from holdfast.trainer.presets import DIGITS_VIEWS


@dataclass(frozen=True)
class ActivationScale:
    """How large everything is.

    Attributes:
        name: as typed after --scale.
        about: what it takes, for --help.
        data: the labelled set.
        encoder: what is trained; its activation is replaced.
        objective: adversarial training, the same for all.
        steps: of each training.
        batch_size: images in a step.
        learning_rate: of Adam.
        activations: that are compared; ReLU is the first.
        seeds: of which each is trained.
        attacked: test images that are attacked, the first ones; all by the same attacks.
        epsilon: of the L-inf ball that they are attacked within, in pixels of [0, 1].
        k: neighbours that vote.
        device: where to train.

    """

    name: str
    about: str
    data: DataName
    encoder: ResNetConfig
    objective: SupervisedAdversarialConfig
    steps: int
    batch_size: int
    learning_rate: float
    activations: tuple[Activation, ...]
    seeds: tuple[int, ...]
    attacked: int
    epsilon: float
    k: int
    device: Literal["cpu", "auto"] = "cpu"


SEEDS = (0, 1, 2)
ALL: tuple[Activation, ...] = ("relu", "silu", "gelu", "softplus", "smoothrelu")
CI = ActivationScale(
    name="ci",
    about="digits, ReLU and SiLU, three seeds; four minutes of a CPU core",
    data="digits",
    encoder=ResNetConfig(width=16, dim=32),
    objective=SupervisedAdversarialConfig(epsilon=16 / 255, steps=2, step_size=12 / 255, augment=DIGITS_VIEWS),
    steps=600,
    batch_size=64,
    learning_rate=2e-3,
    activations=("relu", "silu"),
    seeds=SEEDS,
    attacked=200,
    epsilon=16 / 255,
    k=15,
)
SMALL = ActivationScale(
    name="small",
    about="CIFAR-10, ReLU and four smooth ones, three seeds, a residual net of width 32, 30 epochs; days of a CPU core in"
    " slices, not tried",
    data="cifar10",
    encoder=ResNetConfig(width=32, dim=128),
    objective=SupervisedAdversarialConfig(epsilon=8 / 255, steps=3, step_size=4 / 255, augment=WEAK),
    steps=11_500,
    batch_size=128,
    learning_rate=1e-3,
    activations=ALL,
    seeds=SEEDS,
    attacked=1_000,
    epsilon=8 / 255,
    k=15,
)
SCALES = {scale.name: scale for scale in (CI, SMALL)}
