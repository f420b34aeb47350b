"""What is measured of one bank, each part in a process of its own, so that memory is that part's alone."""

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np

from bench.harness.report import Spread
from holdfast.intervals import Rate
from holdfast.model.answers import Floats, Ints, Neighbours
from holdfast.model.retrieval.approximate.choice import TARGET, answers_of, tune
from holdfast.model.retrieval.approximate.ivf import IvfIndex
from holdfast.model.retrieval.base import Bank, Retriever, nearest
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.retrieval.table import open_retriever, retriever_kind, writers_of
from holdfast.model.vote import VoteParameters, vote

P = ParamSpec("P")
T = TypeVar("T")

BATCHES = (1, 64)
LEAST_QUERIES = 8
"""Of a measured pair, at batch 1."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What is searched, and how neighbours vote."""

    matrix: Path
    labels: Ints
    queries: Floats
    vote: VoteParameters
    classes: int
    folder: Path

    @property
    def bank(self) -> Bank:
        """Its embeddings are mapped from the file."""
        return Bank(np.load(self.matrix, mmap_mode="r"), np.arange(len(self.labels)), self.labels)

    def answer(self, neighbours: Neighbours) -> Ints:
        """The vote's answers."""
        return vote(neighbours.similarities, neighbours.labels, self.classes, self.vote).labels

    @property
    def halves(self) -> tuple[Floats, Floats]:
        """Queries to tune on, and queries to measure on."""
        middle = len(self.queries) // 2
        return self.queries[:middle], self.queries[middle:]


@dataclass(frozen=True, slots=True)
class Compared:
    """An approximate index beside the exact one.

    Attributes:
        parameters: what it was tuned to.
        tuned: on the queries that it was tuned on, answers that are those of the exact index.
        agreement: the same on others.
        recall: of the k nearest, the share that is found.
        exact_ms: CPU milliseconds a query of the exact index, by batch.
        ms: of the approximate one.
        ratio: the second by the first, pair by pair.

    """

    parameters: dict[str, int]
    tuned: Rate
    agreement: Rate
    recall: float
    exact_ms: dict[int, Spread]
    ms: dict[int, Spread]
    ratio: dict[int, Spread]


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes resident: before anything was opened, after it was opened and searched, and the files."""

    before: int
    after: int
    files: int


def alone(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do it in a process of its own, which ends with it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *args, **kwargs).result()


def build(bench: Bench) -> float:
    """Write the inverted file. Returns CPU seconds."""
    began = time.process_time()
    index = IvfIndex.build(bench.bank)
    for name, write in writers_of(index).items():
        write(bench.folder / name)
    return time.process_time() - began


def opened(bench: Bench, parameters: dict[str, int]) -> IvfIndex:
    """The index that `build` wrote."""
    paths = [bench.folder / name for name in retriever_kind("ivf").files]
    index = open_retriever("ivf", paths, np.arange(len(bench.labels)), bench.labels, parameters=parameters)
    assert isinstance(index, IvfIndex)  # noqa: S101 - what the table says
    return index


def compare(bench: Bench, pairs: int, target: float = TARGET) -> Compared:
    """Tune the index on one half of the queries, and measure it on the other beside the exact one."""
    k = bench.vote.k
    exact = FlatIndex.build(bench.bank)
    first, second = bench.halves
    tuned, rate = tune(opened(bench, {}), first, k, answers_of(exact, first, k, bench.answer), bench.answer, target=target)
    right = [nearest(exact, second[i : i + 64], k) for i in range(0, len(second), 64)]
    found = [nearest(tuned, second[i : i + 64], k) for i in range(0, len(second), 64)]
    same = [bench.answer(a) == bench.answer(b) for a, b in zip(right, found, strict=True)]
    shares = [np.isin(r, f).mean() for a, b in zip(right, found, strict=True) for r, f in zip(a.ids, b.ids, strict=True)]
    times = {batch: _pairs((exact, tuned), second, k, batch, pairs) for batch in BATCHES}
    assert isinstance(tuned, IvfIndex)  # noqa: S101 - a variant of what was opened
    return Compared(
        tuned.parameters,
        rate,
        Rate(int(np.concatenate(same).sum()), len(second)),
        float(np.mean(shares)),
        {batch: Spread.of([a for a, _ in each]) for batch, each in times.items()},
        {batch: Spread.of([b for _, b in each]) for batch, each in times.items()},
        {batch: Spread.of([b / a for a, b in each]) for batch, each in times.items()},
    )


def memory(bench: Bench, parameters: dict[str, int]) -> Memory:
    """Open the index as a server does, and search for every query that is measured."""
    _ = np.asarray(bench.labels).sum()
    before = resident()
    index = opened(bench, parameters)
    _, second = bench.halves
    for i in range(0, len(second), 64):
        index.search(second[i : i + 64], bench.vote.k)
    files = sum((bench.folder / name).stat().st_size for name in retriever_kind("ivf").files)
    return Memory(before, resident(), files)


def resident() -> int:
    """Bytes of this process in memory, mapped files included."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _pairs(both: tuple[Retriever, Retriever], queries: Floats, k: int, batch: int, pairs: int) -> list[tuple[float, float]]:
    """CPU milliseconds a query of both, in turns."""
    times = []
    exact, other = both
    size = max(batch, LEAST_QUERIES)
    for pair in range(pairs + 1):
        part = queries[np.arange(pair * size, (pair + 1) * size) % len(queries)]
        order = (exact, other) if pair % 2 else (other, exact)
        spent = {id(index): _milliseconds(index, part, k, batch) for index in order}
        times.append((spent[id(exact)], spent[id(other)]))
    return times[1:]  # the first touches memory for the first time


def _milliseconds(index: Retriever, queries: Floats, k: int, batch: int) -> float:
    began = time.process_time()
    for start in range(0, len(queries), batch):
        nearest(index, queries[start : start + batch], k)
    return 1e3 * (time.process_time() - began) / len(queries)
