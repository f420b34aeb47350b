"""A set of which few labels are known: which ones, drawn by a seed, the same number of each class."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from holdfast.data.labelled import UNKNOWN, DataError, LabelledImages, Splits, joined


def with_labels(splits: Splits, count: int | None, seed: int) -> Splits:
    """The same set, where `count` labels of the training part are known and the other images of it have none.

    Args:
        splits: the set; images that it has without labels already stay so.
        count: labels that are known, or None for all there are.
        seed: of the draw.

    Raises:
        DataError: fewer labels than classes, or more than labelled images.

    """
    if count is None:
        return splits
    known = draw_known(splits.train.labels, len(splits.class_names), count, seed)
    if known.all():
        return splits
    hidden = without_labels(splits.train.take(np.flatnonzero(~known)))
    unlabelled = joined([hidden, splits.unlabelled]) if splits.unlabelled is not None else hidden
    return replace(splits, train=splits.train.take(np.flatnonzero(known)), unlabelled=unlabelled)


def draw_known(labels: NDArray[np.int64], classes: int, count: int, seed: int) -> NDArray[np.bool_]:
    """Mark the images whose label is known: bool [N], as many of each class as of any other, as far as there are so many.

    Where `count` is no multiple of the classes, a draw decides which have one more.

    Args:
        labels: int64 [N], each in 0..classes - 1.
        classes: how many there are.
        count: labels that are known.
        seed: of the draw; the same labels and seed give the same images on every machine.

    Raises:
        DataError: fewer labels than classes, or more than images.

    """
    if count < classes:
        raise DataError(f"{count} labels are fewer than the {classes} classes: each class needs at least one, so ask for more")
    if count > len(labels):
        raise DataError(f"{count} labels were asked for, but there are {len(labels)} training images: ask for fewer")
    random = np.random.default_rng([seed, count])
    counts = np.bincount(labels, minlength=classes)
    quotas = np.zeros(classes, dtype=np.int64)
    while (missing := count - int(quotas.sum())) > 0:
        open_classes = random.permutation(np.flatnonzero(quotas < counts))
        share = max(1, missing // len(open_classes))
        for label in open_classes.tolist():
            quotas[label] += min(share, counts[label] - quotas[label], count - int(quotas.sum()))
    known = np.zeros(len(labels), dtype=bool)
    for label, quota in enumerate(quotas.tolist()):
        known[random.permutation(np.flatnonzero(labels == label))[:quota]] = True
    return known


def without_labels(images: LabelledImages) -> LabelledImages:
    """The same images, whose labels are not known."""
    return replace(images, labels=np.full(len(images), UNKNOWN, dtype=np.int64))
