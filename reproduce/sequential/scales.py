"""How large the streams are: the same arms and the same claims, by encoders of different cost."""

from dataclasses import dataclass
from typing import Literal

from holdfast.data import DataName
from holdfast.data.streams import Order
from holdfast.model.vote import VoteParameters
from holdfast.trainer.augment import WEAK
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.objectives import SimclrConfig, SupervisedConfig
from holdfast.trainer.presets import CROPPED_DIGITS, DIGITS_VIEWS


@dataclass(frozen=True)
class StreamScale:
    """How large everything is.

    Attributes:
        name: as typed after --scale.
        about: what it takes, for --help.
        data: the labelled set of all orders but `domains`.
        encoder: what is trained.
        simclr: the label-free objective of all arms.
        supervised: that of the controls.
        orders: in which the chunks come, in the order in which they are trained.
        steps: on each chunk; the joint arm takes as many times as there are chunks.
        batch_size: images in a step.
        learning_rate: of Adam, anew for each chunk.
        anchors: weights of the anchor that are tried on the first order of classes, and chosen among on calibration images.
        methods: what is compared with plain and joint.
        vote: of the kNN.
        curve_bank: exemplars of the kNN behind the forgetting curve and where weights are moved, drawn from all; the final
            figures use all.
        device: where to train.
        radii: how far weights are moved, as shares of their length, to see how flat the minimum is; ascending, 0 first.

    """

    name: str
    about: str
    data: DataName
    encoder: ResNetConfig
    simclr: SimclrConfig
    supervised: SupervisedConfig
    orders: tuple[Order, ...]
    steps: int
    batch_size: int
    learning_rate: float
    anchors: tuple[float, ...]
    methods: tuple[str, ...]
    vote: VoteParameters
    curve_bank: int
    device: Literal["cpu", "auto"] = "cpu"
    radii: tuple[float, ...] = (0.0, 0.2, 0.5, 1.0)


ALL_METHODS = ("replay", "anchor", "both")
# The monitor of Madaan et al. (ICLR 2022, arXiv 2110.06976), who compare methods on the same kind of streams.
MONITOR = VoteParameters(k=200, weighting="exponential", temperature=0.1)
CI = StreamScale(
    name="ci",
    about="digits, five chunks of two classes, 60 steps each; plain, replay, LUMP and CaSSLe; two minutes of a CPU core",
    data="digits",
    encoder=ResNetConfig(width=16, dim=32),
    simclr=SimclrConfig(hidden=64, projection=32, augment=CROPPED_DIGITS),
    supervised=SupervisedConfig(DIGITS_VIEWS),
    orders=("distant-class",),
    steps=60,
    batch_size=64,
    learning_rate=2e-3,
    anchors=(1.0,),
    methods=("replay", "mixed", "distilled"),
    vote=VoteParameters(k=15, weighting="exponential", temperature=0.1),
    curve_bank=10_000,
)
SMALL = StreamScale(
    name="small",
    about="CIFAR-10 and, for real domains, MNIST and Fashion-MNIST beside it (--data-dir holds all); a residual net of width"
    " 32, 10 passes over each chunk, half as many as this reproduction was planned with; a night of a CPU core",
    data="cifar10",
    encoder=ResNetConfig(width=32, dim=128),
    simclr=SimclrConfig(),
    supervised=SupervisedConfig(WEAK),
    orders=("distant-class", "random-class", "instance", "domain", "domains"),
    steps=383,
    batch_size=256,
    learning_rate=1e-3,
    anchors=(0.1, 1.0, 10.0),
    methods=ALL_METHODS,
    vote=MONITOR,
    curve_bank=10_000,
)
PAPER = StreamScale(
    name="paper",
    about="ResNet-18, 200 passes over each chunk as in the paper, CIFAR-10 in place of ImageNet; days of a GPU, not tried",
    data="cifar10",
    encoder=ResNetConfig(width=64, blocks=2, dim=128, stages=4),
    simclr=SimclrConfig(),
    supervised=SupervisedConfig(WEAK),
    orders=SMALL.orders,
    steps=3828,
    batch_size=512,
    learning_rate=1e-3,
    anchors=SMALL.anchors,
    methods=ALL_METHODS,
    vote=MONITOR,
    curve_bank=50_000,
    device="auto",
)
SCALES = {scale.name: scale for scale in (CI, SMALL, PAPER)}
