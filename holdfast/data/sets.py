"""Every labelled set, by its name."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from holdfast.console import Console
from holdfast.data import cifar10, digits, folder
from holdfast.data.few_labels import with_labels
from holdfast.data.labelled import DataError, Size, Splits, contract_of, hold_out
from holdfast.data.listing import default_calibration
from holdfast.data.mnist import FASHION_MNIST, MNIST
from holdfast.data.noise import with_label_noise
from holdfast.data.speech.bank import read_sessions
from holdfast.data.speech.loading import read_fsdd, read_voices
from holdfast.data.streams import joined
from holdfast.model.preprocess import MAX_PIXELS
from holdfast.model.speech.pictures import MELS

DataName = Literal["digits", "cifar10", "mnist", "fashion-mnist", "domains", "folder", "fsdd", "voices", "sessions"]
NAMES: tuple[str, ...] = get_args(DataName)
NATIVE_SIZES = {"digits": 8, "cifar10": 32, "mnist": 28, "fashion-mnist": 28, "domains": 32, "fsdd": MELS}
"""Height and width of the built-in sets as published, in pixels; of recordings, those of their pictures."""

SPEECH = frozenset({"fsdd", "voices", "sessions"})
"""Those of recordings, whose pictures an encoder gets in the place of images."""


def load(
    name: str,
    *,
    directory: Path | None = None,
    size: Size = 32,
    calibration: int | None = None,
    seed: int = 0,
    skip_unreadable: bool = False,
    max_pixels: int = MAX_PIXELS,
    labels: int | None = None,
    label_noise: float = 0.0,
) -> Splits:
    """Read a labelled set and split it; the same arguments give the same arrays on every machine.

    How a folder was read, what was left out, and what noise was planted, is said on stderr.

    directory: where the set lies (needed by all but digits; without it cifar10 is downloaded). For a folder it may be a
        table of paths and labels as well, .csv or .parquet. voices are SPEAKER/*.wav, and sessions a file that
        `holdfast.data.speech.bank` has made of them.
    size: side of squares in pixels, or how images are fitted, as served ones are.
    calibration: images drawn from the training part by `seed`, each class in its proportion; by default 200 of digits,
        else 1,000 or a tenth, whichever is less. A folder's own calibration part is taken instead.
    skip_unreadable: leave out files of a folder that are no images, instead of refusing.
    max_pixels: the largest width x height of a file that is decoded; see `holdfast.model.preprocess.decode_image`.
    labels: how many labels of the training part are known, as many of each class, drawn by `seed`; by default all. The other
        images become the part without labels. Calibration and test images keep theirs.
    label_noise: share of the training part whose labels are drawn anew by `seed`, in [0, 1]; see `holdfast.data.noise`. The
        calibration and test parts keep the true ones.

    Raises:
        DataError: unknown name, missing or damaged files, too few images, classes or labels, more labels than images, or noise
            that is no share.

    """
    splits = _read(name, directory, size, calibration, seed, skip_unreadable=skip_unreadable, max_pixels=max_pixels)
    splits = with_label_noise(with_labels(splits, labels, seed), label_noise, seed)
    print_notes(splits.notes)
    return splits


def _read(
    name: str,
    directory: Path | None,
    size: Size,
    calibration: int | None,
    seed: int,
    *,
    skip_unreadable: bool,
    max_pixels: int,
) -> Splits:
    held = None
    match name:
        case "digits":
            (train, test), held = digits.read(size, seed=seed), 200
        case "cifar10":
            train, test = cifar10.read(directory, size)
        case "mnist":
            train, test = MNIST.read(directory, size)
        case "fashion-mnist":
            train, test = FASHION_MNIST.read(directory, size)
        case "domains":
            train, test = joined.read(directory, size)
        case "folder":
            return folder.read(
                directory,
                size,
                seed=seed,
                calibration=calibration,
                skip_unreadable=skip_unreadable,
                max_pixels=max_pixels,
            )
        case "fsdd" | "voices" | "sessions":
            side = contract_of(size).height
            return _SPEECH_READERS[name](directory, side, seed=seed, calibration=calibration, skip_unreadable=skip_unreadable)
        case _:
            raise DataError(f"no data set is called {name!r}; choose one of {', '.join(NAMES)}")
    if len(np.unique(train.labels)) < 2:
        raise DataError(f"{name}: all training images are of one class; a classifier needs at least two")
    wanted = calibration if calibration is not None else held or default_calibration(len(train))
    train, calibrating = hold_out(train, wanted, seed)
    return Splits(train, calibrating, test)


_SPEECH_READERS: dict[str, Callable[..., Splits]] = {"fsdd": read_fsdd, "voices": read_voices, "sessions": read_sessions}


def input_kind(name: str) -> Literal["image", "speech"]:
    """What an encoder that learns from a set is given when it serves."""
    return "speech" if name in SPEECH else "image"


def print_notes(notes: Sequence[str]) -> None:
    """Say on stderr how a set was read."""
    console = Console(stderr=True)
    for note in notes:
        console.print(note)
