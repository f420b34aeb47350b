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
HELD_OUT = 2048
"""Queries: rows that are kept out of the bank. The first half tunes the index, the second half is measured."""

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
        near: int64 [B, NEAR], neighbours of each row; None of synthetic ones.
        queries: float32 [HELD_OUT, D].
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
            if self.near is not None and rows <= len(self.embeddings):
                yield self.embeddings[start : start + n], self.labels[start : start + n]
                continue
            drawn = rng.integers(0, len(self.embeddings), n)
            made = self.embeddings[drawn]
            if self.near is None:
                made = made + SPREAD * rng.standard_normal(made.shape, dtype=np.float32)
            else:
                others = self.embeddings[self.near[drawn, rng.integers(0, NEAR, n)]]
                made = made + (others - made) * (0.5 * rng.random((n, 1), dtype=np.float32))
            yield made / np.linalg.norm(made, axis=1, keepdims=True), self.labels[drawn]


def real(bundle: Path) -> Source:
    """The exemplars of a bundle, of which some are kept out as queries."""
    opened = Bundle.open(bundle)
    assert isinstance(opened.index, FlatIndex)  # noqa: S101 - the shipped bundle's
    bank = opened.index.export()
    order = np.random.default_rng(0).permutation(len(bank.ids))
    kept = order[HELD_OUT:]
    embeddings, labels = bank.embeddings[kept], bank.labels[kept]
    index = FlatIndex.build(Bank(embeddings, np.arange(len(kept)), labels))
    near = np.concatenate([index.search(embeddings[i : i + 512], NEAR + 1).ids[:, 1:] for i in range(0, len(kept), 512)])
    queries = bank.embeddings[order[:HELD_OUT]]
    return Source("real", embeddings, labels, near, queries, opened.manifest.vote, len(opened.class_names))


def synthetic(dim: int, vote: VoteParameters) -> Source:
    """Clusters of random places, each of one class; two in ten exemplars of a cluster are of another."""
    rng = np.random.default_rng(1)
    middles = rng.standard_normal((CLUSTERS, dim), dtype=np.float32)
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    rows = np.repeat(middles, 10, axis=0)
    labels = np.repeat(rng.integers(0, CLASSES, CLUSTERS), 10)
    wrong = rng.random(len(labels)) < 0.2
    labels[wrong] = rng.integers(0, CLASSES, int(wrong.sum()))
    queries = middles[rng.integers(0, CLUSTERS, HELD_OUT)]
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
