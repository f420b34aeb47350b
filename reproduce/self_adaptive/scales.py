"""How large self-adaptive training is reproduced: the same arms, by networks of different cost."""

from dataclasses import dataclass, replace
from typing import Literal

from holdfast.data import DataName
from holdfast.trainer.augment import STRONG, WEAK, AugmentConfig
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.objectives import SelfAdaptation, TradesConfig
from holdfast.trainer.presets.digits import DIGITS_VIEWS

LOOKS = 15
"""Times that a training on noisy labels is looked at; the tenth is at two thirds of it."""


@dataclass(frozen=True)
class AdaptiveScale:
    """What every arm is trained for.

    Attributes:
        name: as typed after --scale.
        about: what it takes, for --help.
        data: the labelled set.
        encoder: of every arm.
        views: of the supervised arms.
        strong: of the self-supervised ones.
        steps: of a training on labels; a multiple of LOOKS.
        batch_size: of it.
        optimiser: of it.
        learning_rate: of it, which falls to 0 by a cosine.
        weight_decay: of it.
        rates: of label noise, in the order in which they are trained; the first one is the figure's.
        adaptation: how targets follow the model.
        abstain_start: share of the steps that warm up what abstains.
        trades: the adversarial form without adaptation.
        trades_steps: of it, from the network that was trained on true labels.
        trades_adaptation: as `adaptation`, of its clean term.
        label_free_steps: of the self-supervised arms.
        k: neighbours of the served vote and of the audit.
        ks: numbers of neighbours that votes on noisy labels are compared at.
        attacked: test images that are attacked.
        minutes: expected for each training on labels.

    """

    name: str
    about: str
    data: DataName
    encoder: ResNetConfig
    views: AugmentConfig
    strong: AugmentConfig
    steps: int
    batch_size: int
    optimiser: Literal["adam", "sgd"]
    learning_rate: float
    weight_decay: float
    rates: tuple[float, ...]
    adaptation: SelfAdaptation
    abstain_start: float
    trades: TradesConfig
    trades_steps: int
    trades_adaptation: SelfAdaptation
    label_free_steps: int
    k: int
    ks: tuple[int, ...]
    attacked: int
    minutes: float

    @property
    def figure_rate(self) -> float:
        """The rate of noise that the claims are judged at."""
        return self.rates[0]


_STILL_COLOURS = AugmentConfig(flip=0.0, translate=3, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, grey=0.0)

CI = AdaptiveScale(
    name="ci",
    about="scikit-learn's digits, a network of 3 MMAC, 50 epochs; some ten minutes of one core",
    data="digits",
    encoder=ResNetConfig(width=16, blocks=1, dim=64),
    views=_STILL_COLOURS,
    strong=DIGITS_VIEWS,
    steps=450,
    batch_size=128,
    optimiser="adam",
    learning_rate=2e-3,
    weight_decay=1e-5,
    rates=(0.4, 0.1),
    adaptation=SelfAdaptation(momentum=0.9, start=0.3),
    abstain_start=0.5,
    trades=TradesConfig(epsilon=16 / 255, steps=2, step_size=10 / 255, augment=_STILL_COLOURS),
    trades_steps=150,
    trades_adaptation=SelfAdaptation(momentum=0.9, start=0.5),
    label_free_steps=150,
    k=15,
    ks=(1, 5, 15, 50),
    attacked=200,
    minutes=1.0,
)
SMALL = AdaptiveScale(
    name="small",
    about=(
        "CIFAR-10, a network of 12 MMAC, 60 epochs; about 25 minutes of a core for each of the 17 trainings, and more for some:"
        " repeat it with --minutes"
    ),
    data="cifar10",
    encoder=ResNetConfig(width=32, blocks=1, dim=128),
    views=WEAK,
    strong=STRONG,
    steps=11_460,
    batch_size=256,
    optimiser="sgd",
    learning_rate=0.1,
    weight_decay=5e-4,
    rates=(0.4, 0.1, 0.2, 0.6, 0.8),
    adaptation=SelfAdaptation(momentum=0.9, start=0.3),
    abstain_start=0.5,
    trades=TradesConfig(epsilon=8 / 255, steps=2, step_size=5 / 255, robust_weight=6.0),
    trades_steps=6_000,
    trades_adaptation=SelfAdaptation(momentum=0.9, start=0.7),
    label_free_steps=3_820,
    k=200,
    ks=(1, 5, 15, 200),
    attacked=1000,
    minutes=25.0,
)
PAPER = replace(
    SMALL,
    name="paper",
    about="CIFAR-10, ResNet-18 (the authors' has 34 layers), 200 epochs: for a GPU",
    encoder=ResNetConfig(width=64, blocks=2, dim=512, stages=4),
    steps=38_190,
    trades=TradesConfig(epsilon=8 / 255, steps=10, step_size=2 / 255, robust_weight=6.0),
    trades_steps=38_200,
    label_free_steps=38_200,
    minutes=60.0,
)

SCALES: dict[str, AdaptiveScale] = {scale.name: scale for scale in (CI, SMALL, PAPER)}
