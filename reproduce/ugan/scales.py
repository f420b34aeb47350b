"""How large UGAN is reproduced: the same arms, on sets of different size."""

from dataclasses import dataclass, replace
from typing import Literal

from holdfast.data import DataName
from holdfast.trainer.encoders import ResNetConfig


@dataclass(frozen=True)
class FewLabelsScale:
    """What every arm is trained for.

    Attributes:
        name: as typed after --scale.
        about: what it takes, for --help.
        data: the set; its generators are dense, so it is grey.
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

SCALES: dict[str, FewLabelsScale] = {scale.name: scale for scale in (CI, SMALL, PAPER)}
