"""How large UGAN is reproduced: the same arms, on sets of different size."""

from dataclasses import dataclass, field, replace
from typing import Literal

from holdfast.data import DataName
from holdfast.trainer.augment import WEAK
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.objectives import UganConfig

ArmName = Literal["supervised", "ugan", "good", "bad"]
ARMS: tuple[ArmName, ...] = ("supervised", "ugan", "good", "bad")
"""In the order in which they are trained."""


@dataclass(frozen=True)
class FewLabelsScale:
    """What every arm is trained for.

    Attributes:
        name: as typed after --scale.
        about: what it takes, for --help.
        data: the set; grey where generators are dense.
        encoder: of every arm.
        steps: of a training.
        batch_size: images without a label, and labelled ones, in each.
        learning_rate: of the classifier.
        rate: that of generators and discriminator, as a factor of it.
        average: decay of the mean of the classifier's weights.
        labels: that are known, for the table and its claims.
        curve: other numbers of labels, at which ugan and bad are compared.
        seeds: of weights, of the draw of labels, and where the set has no test part, of that.
        k: neighbours that vote, by the exponential of their similarity.
        made: images that the bad generator is asked for, to be told from test images.
        device: where to train.
        objective: of every arm, but for the arm, `rate` and `average`.
        arms: that are trained for the table.

    """

    name: str
    about: str
    data: DataName
    encoder: ResNetConfig
    steps: int
    batch_size: int
    learning_rate: float
    rate: float
    average: float
    labels: int
    curve: tuple[int, ...]
    seeds: tuple[int, ...]
    k: int = 3
    made: int = 1000
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    objective: UganConfig = field(default_factory=UganConfig)
    arms: tuple[ArmName, ...] = ARMS


_SMALL_NET = ResNetConfig(width=16, blocks=1, dim=64, activation="silu")

CI = FewLabelsScale(
    name="ci",
    about="scikit-learn's digits, 50 labels of 1,197, 600 steps, one seed; about five minutes of one core's CPU time",
    data="digits",
    encoder=_SMALL_NET,
    steps=600,
    batch_size=100,
    learning_rate=1e-3,
    rate=1.0,
    average=0.98,
    labels=50,
    curve=(),
    seeds=(0,),
    made=400,
)
SMALL = FewLabelsScale(
    name="small",
    about=(
        "MNIST at 32x32, 100 labels of 59,000, a network of 3 MMAC, 20 epochs of 600 steps, three seeds: a third of the 60"
        " epochs that were planned, since those would take a core five hours for each seed. By the CPU time of a few steps a"
        " core takes 5 minutes for supervised, 25 for bad, 30 for good, 40 for ugan, by each seed; the curve at 20 labels is"
        " 6 trainings more. Repeat it with --minutes; --data-dir names MNIST's folder"
    ),
    data="mnist",
    encoder=_SMALL_NET,
    steps=12_000,
    batch_size=100,
    learning_rate=3e-4,
    rate=3.0,
    average=0.999,
    labels=100,
    curve=(20,),
    seeds=(0, 1, 2),
)
PAPER = replace(
    SMALL,
    name="paper",
    about="MNIST, 100 labels, 1,000 epochs, ten seeds, a network of 12 MMAC: for a GPU. Never run here",
    encoder=ResNetConfig(width=32, blocks=1, dim=128, activation="silu"),
    steps=600_000,
    average=0.9999,
    curve=(20, 50, 200),
    seeds=tuple(range(10)),
    device="auto",
)

COLOUR = FewLabelsScale(
    name="colour",
    about=(
        "CIFAR-10, 4,000 labels of 49,000, a network of 12 MMAC, 30 epochs of 490 steps, one seed: supervised, and ugan with"
        " convolutional players and a consistency term. By the CPU time of a few steps a core takes half an hour for supervised"
        " and five hours for ugan. Never run to its end. Repeat it with --minutes; --data-dir names the folder of CIFAR-10"
    ),
    data="cifar10",
    encoder=ResNetConfig(width=32, blocks=1, dim=128, activation="silu"),
    steps=14_700,
    batch_size=100,
    # The authors' rates for CIFAR-10: 3e-3 of the classifier, 3e-4 of the others.
    learning_rate=3e-3,
    rate=0.1,
    average=0.999,
    labels=4000,
    curve=(),
    seeds=(0,),
    k=15,
    objective=UganConfig(networks="convolutional", width=32, augment=WEAK, consistency=0.5, fake_weight=0.3),
    arms=("supervised", "ugan"),
)

SCALES: dict[str, FewLabelsScale] = {scale.name: scale for scale in (CI, SMALL, COLOUR, PAPER)}
