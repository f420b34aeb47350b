"""Votes corrected for class frequencies, on an index of a long tail: overall, class by class, and under attack.

    python -m reproduce.longtail bundles/cifar10-small --data-dir cifar10

Exemplars of the bundle are drawn so that the first class keeps all of its own and the last one in --imbalance, the others
between in a geometric row (Cui et al. 2019, arXiv 1901.05555). The encoder is the bundle's, and has seen the whole set: this
is an index of a long tail, not an encoder of one. The k of each row is as large as the bundle's or the largest of
`holdfast index --choose-vote` that reaches every class. Attacked images are those of a PGD of 20 steps on the soft kNN of the
very vote, class weights included; in the bundle's own ball.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.table import Table

from holdfast.bundle.reader import Bundle
from holdfast.console import Console
from holdfast.evaluation.recorded import unseen_images
from holdfast.exit_status import DONE, exit_status
from holdfast.index_build.attack import attack, embedded
from holdfast.model.retrieval.base import Bank, Retriever, bank_of, nearest
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.surrogate import SoftKNN
from holdfast.model.vote import VoteParameters, vote

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

PROGRAM = "python -m reproduce.longtail"
FEW = 3
"""The rarest classes, which the table shows by themselves."""


@dataclass(frozen=True)
class LongTailConfig:
    """What is compared."""

    bundle: Annotated[Path, tyro.conf.Positional]
    """Directory of a complete bundle whose index can hand out its exemplars."""

    data_dir: Path | None = None
    """Where its labelled set lies, if not where the manifest says."""

    imbalance: float = 100.0
    """Exemplars of the first class for each of the last."""

    corrections: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """Powers that class frequencies are divided by."""

    ks: tuple[int, ...] = (50, 1000)
    """Neighbours that vote, at the bundle's own temperature."""

    images: int = 2000
    """Test images, the first so many."""

    attacked: int = 100
    """Of these, attacked for each row; 0 attacks none."""

    seed: int = 0
    """Of the draw of exemplars."""


def long_tailed(bank: Bank, imbalance: float, seed: int) -> Bank:
    """Exemplars of each class c of C: n ** (1 - ...) of them, from n of the first class to n / imbalance of the last."""
    counts = np.bincount(bank.labels)
    wanted = np.maximum(1, np.round(counts.min() * imbalance ** -(np.arange(len(counts)) / (len(counts) - 1)))).astype(int)
    rng = np.random.default_rng(seed)
    rows = np.concatenate([rng.permutation(np.flatnonzero(bank.labels == c))[:n] for c, n in enumerate(wanted)])
    return Bank(bank.embeddings[rows], np.arange(len(rows)), bank.labels[rows])


def answers(index: Retriever, embeddings: Floats, classes: int, parameters: VoteParameters) -> Ints:
    """Labels int64 [N] of the vote."""
    found = nearest(index, embeddings, parameters.k)
    return vote(found.similarities, found.labels, classes, parameters).labels


def measure(config: LongTailConfig) -> int:
    """Print the table; returns the exit status."""
    bundle = Bundle.open(config.bundle)
    test = unseen_images(bundle.manifest, config.data_dir).take(np.arange(config.images))
    bank = long_tailed(bank_of(bundle.index), config.imbalance, config.seed)
    index, classes, counts = FlatIndex.build(bank), len(bundle.class_names), np.bincount(bank.labels)
    clean, threat = embedded(bundle, test.images), bundle.manifest.ball
    columns = ("k", "corrected by", "all", "mean of classes", f"{FEW} rarest", f"{FEW} commonest", f"{threat}")
    table = Table(
        *columns, title=f"{len(bank.labels):,} exemplars, {counts.max():,} to {counts.min():,} a class", title_justify="left"
    )
    for k in config.ks:
        for gamma in config.corrections:
            parameters = bundle.manifest.vote.model_copy(update={"k": k}).corrected(counts, gamma)
            right = answers(index, clean, classes, parameters) == test.labels
            each = np.array([right[test.labels == c].mean() for c in range(classes)])
            order = np.argsort(counts)
            robust = "-"
            if config.attacked:
                images, labels = test.images[: config.attacked], test.labels[: config.attacked]
                soft = SoftKNN(bank.embeddings, bank.labels, classes, parameters.temperature)
                soft = soft.reweighed(parameters.weights_of(classes))
                moved = attack(bundle, images, labels, soft, threat, advance=lambda _: None)
                held = right[: config.attacked] & (answers(index, embedded(bundle, moved), classes, parameters) == labels)
                robust = f"{held.mean():.1%}"
            shares = (right.mean(), each.mean(), each[order[:FEW]].mean(), each[order[-FEW:]].mean())
            table.add_row(str(k), f"{gamma:g}", *(f"{share:.1%}" for share in shares), robust)
    Console().print(table)
    return DONE


def main() -> int:
    """Run the command line; returns the exit status."""
    config = tyro.cli(LongTailConfig, prog=PROGRAM, description=__doc__)
    return exit_status(PROGRAM, lambda: measure(config))


if __name__ == "__main__":
    sys.exit(main())
