"""Named training runs, one file a family, whose docstring gives command, run time, cost and accuracy. One line here each."""

from holdfast.trainer.config import TrainConfig
from holdfast.trainer.presets.cifar10_label_free import CIFAR10_LABEL_FREE, CIFAR10_SELF_SUPERVISED
from holdfast.trainer.presets.cifar10_paper import CIFAR10_PAPER
from holdfast.trainer.presets.cifar10_resnet18 import CIFAR10_RESNET18, CIFAR10_RESNET18_LABEL_FREE
from holdfast.trainer.presets.cifar10_small import CIFAR10_SMALL
from holdfast.trainer.presets.digits import (
    DIGITS,
    DIGITS_SELF_SUPERVISED,
    DIGITS_SUPERVISED,
    DIGITS_SUPERVISED_ADVERSARIAL,
    DIGITS_VIEWS,
)
from holdfast.trainer.presets.few_labels import (
    DIGITS_FEW_LABELS,
    DIGITS_FEW_LABELS_ROBUST,
    MNIST_FEW_LABELS,
    MNIST_FEW_LABELS_ROBUST,
)
from holdfast.trainer.presets.folder import EXAMPLE, FOLDER
from holdfast.trainer.presets.self_adaptive import CIFAR10_SELF_ADAPTIVE, CIFAR10_SELF_DISTILLED, DIGITS_SELF_ADAPTIVE
from holdfast.trainer.presets.speech import SPEECH, SPEECH_LABEL_FREE
from holdfast.trainer.presets.streams import CIFAR10_STREAM, CROPPED_DIGITS, DIGITS_STREAM

__all__ = ["CIFAR10_PAPER", "CROPPED_DIGITS", "DEFAULT", "DIGITS", "DIGITS_VIEWS", "FOLDER", "PRESETS"]

DEFAULT = "digits"

PRESETS: dict[str, tuple[str, TrainConfig]] = {
    DEFAULT: (
        "AMDIM, then label-free SSAT. 60 CPU seconds. Clean 97.2 %, robust 78.8 % at L-inf 16/255.",
        DIGITS,
    ),
    "digits-self-supervised": (
        "AMDIM alone, the first stage of digits. 22 CPU seconds. Clean 96.5 %, robust 0 % at L-inf 16/255.",
        DIGITS_SELF_SUPERVISED,
    ),
    "digits-supervised": (
        "Cross-entropy with labels. 9 CPU seconds. Clean 99.5 %, robust 0 % at L-inf 16/255.",
        DIGITS_SUPERVISED,
    ),
    "digits-supervised-adversarial": (
        "Adversarial training with labels (Madry). 28 CPU seconds. Clean 97.0 %, robust 85.8 % at L-inf 16/255.",
        DIGITS_SUPERVISED_ADVERSARIAL,
    ),
    "digits-self-adaptive": (
        "Targets that follow the model, for wrong labels. 52 CPU seconds. Clean 99.0 %, robust 0 % at L-inf 16/255.",
        DIGITS_SELF_ADAPTIVE,
    ),
    "digits-stream": (
        (
            "SimCLR on five chunks of two classes, one after the other, with replay. 24 CPU seconds. 88.0 % by a kNN, 96.2 %"
            " where all are seen at once."
        ),
        DIGITS_STREAM,
    ),
    FOLDER: (
        (
            "TRADES with labels on your own images, --data DIR, sized by their number. 2,059 photographs of hands: 431 s of two"
            " CPU cores. Clean 99.0 %, robust 98.1 % at L-inf 4/255."
        ),
        EXAMPLE,
    ),
    "speech": (
        (
            "Cross-entropy on speakers, from a file of sessions. 405 s of a shared CPU core. Six speakers: 87.7 % identified,"
            " equal error rate across channels 11.8 %."
        ),
        SPEECH,
    ),
    "speech-label-free": (
        (
            "Augmentation adversarial training on a file of sessions, label-free. Half an hour of a shared CPU core. On voices"
            " of people not yet measured."
        ),
        SPEECH_LABEL_FREE,
    ),
    "digits-few-labels": (
        "UGAN from 50 labels. About 2 minutes of one CPU core. Clean 94.2 %, robust 0 % at L-inf 16/255.",
        DIGITS_FEW_LABELS,
    ),
    "digits-few-labels-robust": (
        (
            "UGAN from 50 labels, then TRADES on the labels that it guesses. About 3 minutes of one CPU core. Clean 94.8 %,"
            " robust 85.0 % at L-inf 16/255."
        ),
        DIGITS_FEW_LABELS_ROBUST,
    ),
    "mnist-few-labels": (
        "UGAN from 100 labels of MNIST. About two hours of a CPU core, estimated; not yet measured.",
        MNIST_FEW_LABELS,
    ),
    "mnist-few-labels-robust": (
        "The same, then TRADES on the labels that it guesses. About three hours of a CPU core, estimated; not yet measured.",
        MNIST_FEW_LABELS_ROBUST,
    ),
    "cifar10-self-supervised": (
        "AMDIM alone, the first stage of cifar10-label-free. An hour of one CPU core. Clean 78.1 %, robust 0 % at L-inf 4/255.",
        CIFAR10_SELF_SUPERVISED,
    ),
    "cifar10-small": (
        "TRADES with labels. 142 minutes of two CPU cores. Clean 78.6 %, robust 58.0 % at L-inf 4/255, 37.3 % at 8/255.",
        CIFAR10_SMALL,
    ),
    "cifar10-label-free": (
        (
            "AMDIM, then its neighbourhoods made robust, label-free. About two hours of one CPU core. With another vote clean"
            " 73.0 %, robust 40.4 % at L-inf 4/255."
        ),
        CIFAR10_LABEL_FREE,
    ),
    "cifar10-stream": (
        "SimCLR on five chunks of two classes, one after the other, with replay. Half an hour of a CPU core; not yet measured.",
        CIFAR10_STREAM,
    ),
    "cifar10-resnet18": (
        (
            "TRADES with labels on ResNet-18. About 20 minutes of an H100, weeks of a CPU core. Meant to reach clean 84 %,"
            " robust 66 % at L-inf 4/255; not yet measured."
        ),
        CIFAR10_RESNET18,
    ),
    "cifar10-resnet18-label-free": (
        (
            "SimCLR on ResNet-18, then its neighbourhoods made robust, label-free. About 20 minutes of an H100, weeks of a CPU"
            " core; not yet measured."
        ),
        CIFAR10_RESNET18_LABEL_FREE,
    ),
    "cifar10-self-adaptive": (
        "Targets that follow the model, for wrong labels. About 25 minutes of a CPU core; not yet measured.",
        CIFAR10_SELF_ADAPTIVE,
    ),
    "cifar10-self-distilled": (
        "A target for each image, label-free. About 15 minutes of a CPU core; not yet measured.",
        CIFAR10_SELF_DISTILLED,
    ),
    "cifar10-paper": (
        (
            "The released recipe, AMDIM at width 128 and guided SSAT. Hours of a GPU, weeks of a CPU core. Published: clean"
            " 83 %; not yet measured here."
        ),
        CIFAR10_PAPER,
    ),
}
