"""Label noise, planted on purpose: to measure what withstands wrong labels, and what finds them."""

import csv
import io
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from holdfast.data.labelled import DataError, LabelledImages, PlantedNoise, Splits

Ints = NDArray[np.int64]

SEED = 0x6C6162656C
"""Beside the run's seed, so that no other random number of the run is drawn by the same one."""


@dataclass(frozen=True, slots=True)
class Corrupted:
    """Labels of which some were drawn anew.

    Attributes:
        labels: int64 [N].
        rows: int64 [n], ascending: whose label was drawn anew, whether another one came or not.

    """

    labels: Ints
    rows: Ints


def corrupt(labels: Ints, rate: float, seed: int, classes: int) -> Corrupted:
    """Draw the labels of a share of the images anew, uniformly from all classes, the true one among them.

    As in the released code of self-adaptive training (Huang et al. 2020, arXiv 2002.10319). So fewer labels become wrong than
    are drawn: see `label_error_rate`.

    Args:
        labels: int64 [N], each in 0..classes - 1.
        rate: share r of the images, in [0, 1]; round(r N) of them are drawn without replacement.
        seed: the same labels and seed give the same noise on every machine.
        classes: C, at least 2.

    Raises:
        DataError: a rate that is no share, or a single class.

    """
    if not 0 <= rate <= 1:
        raise DataError(f"label noise is a share of the images, in [0, 1], not {rate:g}")
    if classes < 2 or (len(labels) and len(np.unique(labels)) < 2):
        raise DataError(
            "all labels are of one class: there is no wrong one that noise could bring; add images of another class"
        )
    random = np.random.default_rng([seed, SEED])
    rows = np.sort(random.choice(len(labels), round(rate * len(labels)), replace=False)).astype(np.int64)
    noisy = labels.copy()
    noisy[rows] = random.integers(0, classes, len(rows))
    return Corrupted(noisy, rows)


def label_error_rate(rate: float, classes: int) -> float:
    """The share of wrong labels to expect where the labels of a share `rate` are drawn from all `classes`: r (C - 1) / C."""
    return rate * (classes - 1) / classes


def with_label_noise(splits: Splits, rate: float, seed: int) -> Splits:
    """The set with noise on the labels of its training part; the calibration and test parts keep the true ones.

    Raises:
        DataError: as `corrupt`.

    """
    if rate == 0:
        return splits
    train = splits.train
    found = corrupt(train.labels, rate, seed, len(splits.class_names))
    noise = PlantedNoise(rate, found.rows, train.labels)
    noisy = LabelledImages(train.images, found.labels, train.class_names, train.sources)
    return replace(splits, train=noisy, noise=noise, notes=(*splits.notes, describe_noise(noise, noisy)))


def describe_noise(noise: PlantedNoise, train: LabelledImages) -> str:
    """Both shares in a sentence: of labels drawn anew, and of labels that are wrong."""
    wrong = noise.wrong(train)
    expected = label_error_rate(noise.rate, len(train.class_names))
    return (
        f"label noise: {len(noise.rows):,} of {len(train):,} training labels ({noise.rate:.1%}) are drawn anew from all"
        f" {len(train.class_names)} classes, {len(wrong):,} are wrong ({len(wrong) / max(len(train), 1):.1%}; {expected:.1%}"
        " expected)"
    )


def list_of_noise(noise: PlantedNoise, train: LabelledImages) -> bytes:
    """The images whose label was drawn anew, as a table: source, true class, given class."""
    text = io.StringIO(newline="")
    write = csv.writer(text)
    write.writerow(("source", "true", "given"))
    for row in noise.rows.tolist():
        names = train.class_names[noise.true_labels[row]], train.class_names[train.labels[row]]
        write.writerow((train.sources[row], *names))
    return text.getvalue().encode(errors="backslashreplace")
