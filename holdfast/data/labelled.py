"""Labelled images as plain arrays, and how a set is held apart: train (the exemplars), calibration, test."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import HoldfastError
from holdfast.model.images.fitting import Fitting
from holdfast.model.preprocess import InputContract, fit

Size = int | Fitting
"""Of images that are asked for: the side of squares that they are resized to as they are, or all that can be said of it."""

UNKNOWN = -1
"""The label of an image whose class is not known."""


class DataError(HoldfastError):
    """A data set that cannot be read or used as it lies; the message says what to do about it."""


class LabelledRows(Protocol):
    """What is known of labelled images without looking at one; whole sets are, in memory or not."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per label."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 [N]."""

    @property
    def sources(self) -> Sequence[str]:
        """Where each image came from [N]."""

    def __len__(self) -> int: ...


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images with their labels.

    images: uint8 [N, H, W, 3], RGB, values 0..255.
    labels: int64 [N], each in 0..len(class_names) - 1; or UNKNOWN, in the part of a set that has no labels.
    class_names: one name per label.
    sources: where each image came from, e.g. "cifar10/train/17" or a path relative to the data set's folder.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    sources: list[str]

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        n = len(self.images)
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[3] != 3:
            raise DataError(f"images must be uint8 [N, H, W, 3], not {self.images.dtype} {list(self.images.shape)}")
        if self.labels.dtype != np.int64 or self.labels.shape != (n,):
            raise DataError(f"labels must be int64 [{n}], not {self.labels.dtype} {list(self.labels.shape)}")
        if len(self.sources) != n:
            raise DataError(f"{n} images came with {len(self.sources)} sources")
        if np.any((self.labels < UNKNOWN) | (self.labels >= len(self.class_names))):
            raise DataError(
                f"labels run from {self.labels.min()} to {self.labels.max()}, but there are {len(self.class_names)} class names"
            )

    def __len__(self) -> int:
        return len(self.images)

    def sha256(self) -> str:
        """Hash of pixels, labels and class names. Sources are left out: moving a folder changes no image."""
        digest = begin_digest(self.class_names, self.images.shape)
        digest.update(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        return digest.hexdigest()

    def pixels(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The images at `rows`, int64 [n]: uint8 [n, H, W, 3]."""
        return self.images[rows]

    def take(self, indices: NDArray[np.int64] | Sequence[int]) -> "LabelledImages":
        """Return the images at `indices` (int [n]), in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return LabelledImages(
            self.images[chosen], self.labels[chosen], self.class_names, [self.sources[i] for i in chosen.tolist()]
        )


def begin_digest(class_names: Sequence[str], shape: Sequence[int]) -> "hashlib._Hash":
    """What `LabelledImages.sha256` begins with; pixels and labels follow.

    Args:
        class_names: one name per label.
        shape: [N, H, W, 3], of all images.

    """
    return hashlib.sha256("\0".join((*class_names, str(tuple(shape)))).encode())


@dataclass(frozen=True, eq=False)
class PlantedNoise:
    """What label noise was planted on the training part of a set; see `holdfast.data.noise`.

    rate: share of the labels that were drawn anew, in [0, 1].
    rows: int64 [n], ascending: whose label was drawn anew, whether another one came or not.
    true_labels: int64 [N], of the whole training part.
    """

    rate: float
    rows: NDArray[np.int64]
    true_labels: NDArray[np.int64]

    def wrong(self, train: LabelledImages) -> NDArray[np.int64]:
        """Rows of the training part whose label is not the true one: int64 [m], ascending."""
        return np.flatnonzero(train.labels != self.true_labels)


@dataclass(frozen=True, eq=False)
class Splits:
    """Three disjoint parts of one labelled set.

    train: what an encoder learns from and what becomes the exemplars. calibration: held out of both, so that
    credibility is a valid p-value. test: seen by nobody before the evaluation. Their labels are all known.
    """

    train: LabelledImages
    calibration: LabelledImages
    test: LabelledImages
    drawn: int | None = None
    """Images of the calibration part as it was drawn, before what could not be read was left out; None if all could be."""
    notes: tuple[str, ...] = ()
    """How the set was read and what was left out, a line each."""
    unlabelled: LabelledImages | None = None
    """What an encoder learns from as well: images without labels, all UNKNOWN; None where there are none."""

    def __post_init__(self) -> None:
        """Refuse images without a label where labels are read, and labels where there should be none."""
        if any((part.labels == UNKNOWN).any() for part in (self.train, self.calibration, self.test)):
            raise DataError("images of the training, calibration and test part must have labels")
        if self.unlabelled is not None and (self.unlabelled.labels != UNKNOWN).any():
            raise DataError("images of the part without labels must have none")

    @cached_property
    def learned_from(self) -> LabelledImages:
        """All that an encoder may learn from: the training part, then the images without labels."""
        return self.train if self.unlabelled is None else joined([self.train, self.unlabelled])

    noise: PlantedNoise | None = None
    """The noise on the labels of the training part, where some was planted."""

    @property
    def drawn_calibration(self) -> int:
        """What `calibration` has to be to draw the same parts again."""
        return len(self.calibration) if self.drawn is None else self.drawn

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per label, the same in all three parts."""
        return self.train.class_names

    @cached_property
    def sha256(self) -> str:
        """Hash of all parts: it changes with any pixel, label or name, and with how the set was split."""
        parts = [self.train, self.calibration, self.test, *([] if self.unlabelled is None else [self.unlabelled])]
        return joint_sha256([part.sha256() for part in parts])


def joint_sha256(parts: Sequence[str]) -> str:
    """The hash of a set, of those of its parts: train, calibration, test, and without labels if it has some."""
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def joined(parts: Sequence[LabelledImages]) -> LabelledImages:
    """Images of the same classes and size, one part after the other."""
    return LabelledImages(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        parts[0].class_names,
        [source for part in parts for source in part.sources],
    )


def hold_out(images: LabelledImages, count: int, seed: int) -> tuple[LabelledImages, LabelledImages]:
    """Split into (the rest, `count` images drawn at random by `seed`), each class in its proportion.

    A class never gives away its last image. Both parts keep the order of the whole.

    Raises:
        DataError: `count` images cannot be spared.

    """
    chosen = draw(images.labels, len(images.class_names), count, seed)
    return images.take(np.flatnonzero(~chosen)), images.take(np.flatnonzero(chosen))


def draw(labels: NDArray[np.int64], classes: int, count: int, seed: int) -> NDArray[np.bool_]:
    """Mark `count` of the rows, drawn at random by `seed`, each class in its proportion: bool [N].

    A class never gives away its last row.

    Args:
        labels: int64 [N], each in 0..classes - 1.
        classes: how many there are.
        count: rows to be drawn.
        seed: of the draw; the same labels and seed give the same rows on every machine.

    Raises:
        DataError: `count` rows cannot be spared.

    """
    counts = np.bincount(labels, minlength=classes)
    quotas = _quotas(counts, count)
    random = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), dtype=bool)
    of_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    for rows, quota in zip(of_class, quotas.tolist(), strict=True):
        chosen[random.permutation(rows)[:quota]] = True
    return chosen


def _quotas(counts: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Share `total` among classes of `counts` images by largest remainder: int64 [C], at most counts - 1 each."""
    spare = np.maximum(counts - 1, 0)
    if not 0 <= total <= spare.sum():
        raise DataError(
            f"cannot hold out {total} of {counts.sum()} images: each class must keep at least one, so at most "
            f"{spare.sum()} can be spared. Ask for fewer calibration images, or add images."
        )
    exact = counts * (total / max(int(counts.sum()), 1))
    quotas: NDArray[np.int64] = np.minimum(np.floor(exact).astype(np.int64), spare)
    while (missing := total - int(quotas.sum())) > 0:
        unfilled = np.flatnonzero(quotas < spare)
        neediest = unfilled[np.argsort(quotas[unfilled] - exact[unfilled], kind="stable")][:missing]
        quotas[neediest] += 1
    return quotas


def contract_of(size: Size) -> InputContract:
    """What images of a size are fitted to."""
    fitting = Fitting(size, size) if isinstance(size, int) else size
    return InputContract(**fitting._asdict())


def fit_all(images: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Resize uint8 [N, h, w] or [N, h, w, 3] to uint8 [N, height, width, 3], by the very function that serves requests."""
    contract = contract_of(size)
    if images.shape[1:] == contract.shape:
        return images
    fitted = np.empty((len(images), *contract.shape), dtype=np.uint8)
    for i, image in enumerate(images):
        fitted[i] = fit(image, contract)
    return fitted
