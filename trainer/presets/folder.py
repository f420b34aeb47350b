"""One's own images: a folder of class folders, DIR/CLASS/* or DIR/{train,test}/CLASS/*, from a few dozen images up.

    python -m trainer folder --data DIR        or: holdfast train --data DIR

TRADES with labels, after a tenth of the steps without attacks. Width, batch, steps, k and the share held out for calibration
follow the number of images and the smallest class; --help with the same --data shows them, and every flag overrides them.
With images in DIR/unlabelled/, UGAN learns from these and from the few labels first, and TRADES then from the labels that it
guesses; not yet measured on photographs.
Images are 32 x 32. Nothing is mirrored, as letters and signs would become others: for photographs of things,
--stages.0.objective.augment.flip .5 and the same for stage 1 is worth a try.

2,059 photographs of hands, ten signs, 100 x 100: 431 s of training on two cores that had other work; clean 99.0 %
[97.5, 99.6], robust at L-inf 4/255 98.1 % [96.2, 99.0] under the quick attack, on 412 images of the same people. 180 of them:
273 s; 97.2 % [85.8, 99.5] and 91.7 % [78.2, 97.1] on 36.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from holdfast.data.listing import ImageListing, list_images
from holdfast.data.listing.parts import Part
from holdfast.trainer.augment import AugmentConfig
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.objectives import PseudoLabelledConfig, SupervisedConfig, TradesConfig, UganConfig

FOLDER = "folder"

SMALL = 20_000
"""Images from which a wider encoder has enough to learn from."""
EPOCHS = 60
IMAGES_SEEN = (40_000, 2_000_000)
"""At least and at most, over all steps: few images are seen often, many a few times."""
LEAST_CALIBRATION = 40
"""Images held out where there are hardly any: with n of them credibility comes in steps of 1 / (n + 1)."""
MOST_K = 15

_VIEWS = AugmentConfig(flip=0.0, rotate=10.0, zoom=0.1, brightness=0.3, contrast=0.3, saturation=0.2, hue=0.0, grey=0.0)


@dataclass(frozen=True)
class SetSize:
    """How large a labelled set is.

    Attributes:
        train: images to learn from, which become the exemplars.
        smallest: of them, those of the smallest class.
        calibration: images to be held out; None where the set has a part for that.
        unlabelled: images without a label.

    """

    train: int
    smallest: int
    calibration: int | None
    unlabelled: int = 0

    @classmethod
    def of(cls, listing: ImageListing, seed: int = 0) -> "SetSize":
        """The size of a set, split as it will be. Raises DataError where it is too small to be split."""
        calibration = None
        if not np.any(listing.parts == Part.CALIBRATION):
            train, _, _ = listing.split(calibration=0, seed=seed)
            spare = len(train) - len(listing.class_names)  # each class keeps an image
            calibration = max(0, min(1_000, max(len(train) // 10, min(LEAST_CALIBRATION, len(train) // 4)), spare))
        train, _, _ = listing.split(calibration=calibration, seed=seed)
        counts = np.bincount(listing.labels[train], minlength=len(listing.class_names))
        return cls(len(train), int(counts.min()), calibration, len(listing.unlabelled))


def folder_config(size: SetSize, directory: Path | None, out: Path) -> TrainConfig:
    """The run for a set of this size.

    Args:
        size: of the set.
        directory: where it lies.
        out: where the bundle goes.

    """
    threads, images = 2 if size.train >= 8 else 1, size.train + size.unlabelled
    batch = int(min(128, max(2 * threads, 2 ** np.floor(np.log2(max(images / 2, 1))))))
    steps = round(min(max(EPOCHS * images, IMAGES_SEEN[0]), IMAGES_SEEN[1]) / max(batch, 32))
    small = images < SMALL
    return TrainConfig(
        encoder=ResNetConfig(width=32 if small else 60, blocks=1, dim=64 if small else 128, activation="silu"),
        stages=_stages(steps, batch, few=size.unlabelled > 0),
        out=out,
        data="folder",
        data_dir=directory,
        calibration=size.calibration,
        epsilon=4 / 255,
        # With more neighbours than this the smallest class could never have the most votes.
        k=min(MOST_K, 2 * size.smallest - 1),
        threads=threads,
    )


def _stages(steps: int, batch: int, *, few: bool) -> tuple[Stage, Stage]:
    """A tenth of the steps without attacks, the others with; of a set with `few` labels, half of them."""
    trades = TradesConfig(epsilon=8 / 255, steps=2, step_size=5 / 255, robust_weight=4.0, augment=_VIEWS)
    plain = steps // 2 if few else steps // 10
    robust = Stage("trades", trades, steps=steps - plain, batch_size=batch, average=0.99)
    if not few:
        return Stage("supervised", SupervisedConfig(_VIEWS), steps=plain, batch_size=batch), robust
    players = UganConfig(networks="convolutional", rate=1.0, average=0.98, augment=_VIEWS)
    ugan = Stage(
        "ugan",
        players,
        steps=plain,
        batch_size=batch,
        learning_rate=1e-3,
        schedule="constant",
        betas=(0.5, 0.999),
        weight_decay=0.0,
        average=0.98,
    )
    return ugan, replace(robust, objective=PseudoLabelledConfig(trades))


def config_of(path: Path) -> TrainConfig:
    """The run for the images of a folder or a table, into runs/ITS-NAME.

    Raises:
        DataError: there is no such set, or it cannot be used as it lies.

    """
    name = path.stem if path.is_file() else path.resolve().name
    # Whether files that are no images are refused, is decided where they are read.
    return folder_config(SetSize.of(list_images(path, skip_unusable=True)), path, Path("runs") / name)


EXAMPLE = folder_config(SetSize(train=1_500, smallest=150, calibration=165), None, Path("runs/folder"))
"""What a set of some 2,000 images in ten classes gets."""
