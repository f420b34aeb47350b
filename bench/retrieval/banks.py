"""Banks of any size, written to disk a block at a time: of real embeddings, and of none."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from holdfast.bundle.reader import Bundle
from holdfast.model.answers import Floats, Ints
from holdfast.model.retrieval.base import Bank
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.vote import VoteParameters

BLOCK = 100_000
QUERIES = 2048
"""Queries, made of a bundle's held-out images: the first half of those tunes the index, the second half is measured."""

NEAR = 10
"""Neighbours of a real embedding that a copy of it moves towards."""

CLASSES, CLUSTERS, SPREAD = 10, 2000, 0.06


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from.

    Attributes:
        name: for the table.
        embeddings: float32 [B, D]: real rows, or middles of clusters.
        labels: int64 [B].
        near: int64 [B, NEAR], neighbours of each row; None of synthetic ones, and where no copies are asked for.
        queries: float32 [QUERIES, D].
        vote: how neighbours vote.
        classes: number of classes.

    """

    name: str
    embeddings: Floats
    labels: Ints
    near: Ints | None
    queries: Floats
    vote: VoteParameters
    classes: int

    def blocks(self, rows: int, seed: int) -> Iterator[tuple[Floats, Ints]]:
        """`rows` embeddings and labels, a block at a time.

        Real rows come as they are where there are enough. Else each is drawn, and moved by up to half of the way to one of its
        neighbours (Chawla et al. 2002, SMOTE, https://doi.org/10.1613/jair.953): so copies lie where embeddings lie. Synthetic
        rows are drawn around the middles of clusters.
        """
        rng = np.random.default_rng(seed)
        for start in range(0, rows, BLOCK):
            n = min(BLOCK, rows - start)
            if self.name == "real" and rows <= len(self.embeddings):
                yield self.embeddings[start : start + n], self.labels[start : start + n]
                continue
            drawn = rng.integers(0, len(self.embeddings), n)
            made = self.embeddings[drawn]
            if self.near is None:
                made = made + SPREAD * rng.standard_normal(made.shape, dtype=np.float32)
            else:
                made = moved(made, self.embeddings[self.near[drawn, rng.integers(0, NEAR, n)]], rng)
            yield made / np.linalg.norm(made, axis=1, keepdims=True), self.labels[drawn]


def moved(embeddings: Floats, others: Floats, rng: np.random.Generator) -> Floats:
    """Each up to half of the way to another one: float32 [n, D], not of unit length."""
    there: Floats = embeddings + (others - embeddings) * (0.5 * rng.random((len(embeddings), 1), dtype=np.float32))
    return there


def real(bundle: Path, *, copied: bool) -> Source:
    """The exemplars of a bundle, to be copied or not; queries are its held-out images, moved towards exemplars near them."""
    opened = Bundle.open(bundle)
    assert isinstance(opened.index, FlatIndex)  # noqa: S101 - the shipped bundle's
    bank, held_out = opened.index.export(), opened.calibration_set.embeddings
    index = FlatIndex.build(Bank(bank.embeddings, np.arange(len(bank.ids)), bank.labels))

    def nearest_of(queries: Floats, k: int) -> Ints:
        return np.concatenate([index.search(queries[i : i + 512], k).ids for i in range(0, len(queries), 512)])

    rng, middle = np.random.default_rng(0), len(held_out) // 2
    halves = [np.resize(np.arange(*half), QUERIES // 2) for half in ((0, middle), (middle, len(held_out)))]
    drawn = np.concatenate([rng.permutation(half) for half in halves])
    towards = nearest_of(held_out, NEAR)[drawn, rng.integers(0, NEAR, QUERIES)]
    queries = moved(held_out[drawn], bank.embeddings[towards], rng)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    near = nearest_of(bank.embeddings, NEAR + 1)[:, 1:] if copied else None
    return Source("real", bank.embeddings, bank.labels, near, queries, opened.manifest.vote, len(opened.class_names))


def synthetic(dim: int, vote: VoteParameters) -> Source:
    """Clusters of random places, each of one class; two in ten exemplars of a cluster are of another."""
    rng = np.random.default_rng(1)
    middles = rng.standard_normal((CLUSTERS, dim), dtype=np.float32)
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    rows = np.repeat(middles, 10, axis=0)
    labels = np.repeat(rng.integers(0, CLASSES, CLUSTERS), 10)
    wrong = rng.random(len(labels)) < 0.2
    labels[wrong] = rng.integers(0, CLASSES, int(wrong.sum()))
    queries = middles[rng.integers(0, CLUSTERS, QUERIES)]
    queries = queries + SPREAD * rng.standard_normal(queries.shape, dtype=np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    return Source("synthetic", rows, labels, None, queries, vote, CLASSES)


def write(source: Source, rows: int, folder: Path, seed: int = 2) -> tuple[Path, Ints]:
    """A float16 [rows, D] .npy file, and the labels int64 [rows]."""
    path = folder / f"{source.name}-{rows}.npy"
    shape = (rows, source.embeddings.shape[1])
    matrix = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    labels = np.empty(rows, dtype=np.int64)
    start = 0
    for embeddings, theirs in source.blocks(rows, seed):
        matrix[start : start + len(theirs)], labels[start : start + len(theirs)] = embeddings, theirs
        start += len(theirs)
    matrix.flush()
    return path, labels
