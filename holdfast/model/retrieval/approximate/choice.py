"""Which index to build, and how much of it to look at: the cheapest whose votes answer as those of the exact one do.

What counts is the answer, not the neighbours: an index that misses one in ten of 1,000 may still answer all alike, and one that
misses few may miss those that decide.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

import numpy as np

from holdfast.errors import BundleError
from holdfast.intervals import Rate
from holdfast.model.answers import Floats, Ints, Neighbours
from holdfast.model.retrieval.approximate.float16 import BLOCK
from holdfast.model.retrieval.base import SPARE, Bank, Retriever, canonical, nearest
from holdfast.model.retrieval.embeddings import ReadableBank
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.retrieval.table import RETRIEVERS, StoredRetriever, build_retriever, check_buildable, retriever_kind
from holdfast.model.retrieval.tombstones import merged

AUTO = "auto"

TARGET = 0.999
"""Of the held-out images, the share that has to be answered as by the exact index."""

FLAT_PRODUCTS = 150_000 * 128
"""Numbers of an exact index up to which `auto` keeps it: a search then costs no more than an encoder of 43 MMAC does."""

FEW_NEIGHBOURS, MOST_LINKED = 100, 2_000_000
"""Votes of so few neighbours, over so few exemplars, are looked for in a graph."""

IN_A_ROW = 3
"""Variants, each twice as thorough, that have to reach the target: the last of them is taken."""

AT_ONCE = 64
"""Queries searched at once."""

Answer = Callable[[Neighbours], Ints]
"""The answers int64 [N] that neighbours in canonical order vote for."""


@runtime_checkable
class Tunable(StoredRetriever, Protocol):
    """An index that can look at more or less of what it holds."""

    def variants(self, k: int) -> Iterator[Self]:
        """The same index, ever more thorough for a vote of k."""


@dataclass(frozen=True, slots=True)
class IndexChoice:
    """What was built, and why.

    Attributes:
        index: the index.
        agreement: held-out images that it answers as the exact index does; None where it is exact itself, or there are none.
        reason: one sentence.

    """

    index: StoredRetriever
    agreement: Rate | None
    reason: str


def choose_index(
    bank: ReadableBank,
    k: int,
    held_out: Floats,
    answer: Answer,
    *,
    kind: str = AUTO,
    half: bool = False,
    target: float = TARGET,
) -> IndexChoice:
    """Build an index of a kind, or of the kind that fits, and tune it where it can be.

    Where the target is missed even by the most thorough variant, `auto` builds the exact index, and a kind that was asked for
    by name is as thorough as can be.

    Args:
        bank: the exemplars.
        k: neighbours that vote.
        held_out: float32 [n, D], images that are not among the exemplars; the fewer, the less a share of `target` means.
        answer: what neighbours answer.
        kind: of the index, or AUTO.
        half: see `build_retriever`; `auto` heeds it where it stays exact.
        target: the share of the held-out images to be answered as by the exact index.

    Raises:
        BundleError: see `build_retriever`.

    """
    chosen, reason = _fitting(bank, k, len(held_out)) if kind == AUTO else (kind, "asked for")
    half = half and (kind != AUTO or retriever_kind(chosen).rounds)
    index = build_retriever(chosen, bank, half=half)
    if not isinstance(index, Tunable) or not len(held_out):
        return IndexChoice(index, None, reason)
    exact = answer(exact_neighbours(bank, held_out, k))
    tuned, agreement = tune(index, held_out, k, exact, answer, target=target)
    if agreement.value >= target:
        return IndexChoice(tuned, agreement, f"{reason}; the cheapest that answers {target:.1%} as an exact search does")
    missed = f"the {chosen} index answers only {agreement} as an exact search does, wanted were {target:.1%}"
    if kind == AUTO:
        return IndexChoice(build_retriever("flat", bank, half=half), None, missed)
    return IndexChoice(tuned, agreement, f"{reason}; {missed}")


def check_kind(kind: str, *, half: bool = False) -> None:
    """Find out, before anything is embedded, whether such an index can be built. Raises as `build_retriever`."""
    name = kind.partition("://")[0]
    if name not in {AUTO, *RETRIEVERS}:
        raise BundleError(f"there is no index of kind {name!r}: choose one of {', '.join(sorted([AUTO, *RETRIEVERS]))}")
    if kind != AUTO:
        check_buildable(kind, half=half)


def tune(
    index: Tunable, queries: Floats, k: int, exact: Ints, answer: Answer, *, target: float = TARGET
) -> tuple[StoredRetriever, Rate]:
    """The first variant of an index that, like the two before it, answers enough of the queries as an exact one does.

    The very first that does so owes it in part to the choice of queries: on others, at a million exemplars, it and the next
    missed the target that the third met. Where no three do, it is the last. With it comes how many it answers.

    Args:
        index: to be tuned.
        queries: float32 [n, D], n >= 1.
        k: neighbours that vote.
        exact: int64 [n], the answers of the exact index.
        answer: what neighbours answer.
        target: the share that is enough.

    """
    best: tuple[StoredRetriever, Rate] | None = None
    in_a_row = 0
    for variant in index.variants(k):
        best = (variant, Rate(int((answers_of(variant, queries, k, answer) == exact).sum()), len(exact)))
        in_a_row = in_a_row + 1 if best[1].value >= target else 0
        if in_a_row == IN_A_ROW:
            break
    if best is None:
        raise ValueError(f"{index} has no variants")
    return best


def answers_of(index: Retriever, queries: Floats, k: int, answer: Answer) -> Ints:
    """What an index answers: int64 [n]."""
    parts = [answer(nearest(index, queries[i : i + AT_ONCE], k)) for i in range(0, len(queries), AT_ONCE)]
    return np.concatenate(parts or [np.zeros(0, dtype=np.int64)])


def exact_neighbours(bank: ReadableBank, queries: Floats, k: int) -> Neighbours:
    """What an exact index finds that rounds to float16, in canonical order, without more than a block of it in memory.

    Approximate kinds round so: what rounding changes is not what an index misses.
    """
    found: Neighbours | None = None
    for start in range(0, len(bank.ids), BLOCK):
        rows = slice(start, start + BLOCK)
        part_of_bank = Bank(bank.embeddings[rows], bank.ids[rows], bank.labels[rows])
        block = FlatIndex.build(part_of_bank, half=True, first_pass=False)
        part = block.search(queries, k + SPARE)
        found = part if found is None else merged(found, part, k + SPARE)
    if found is None:
        raise ValueError("there are no exemplars")
    return canonical(found, k)


def _fitting(bank: ReadableBank, k: int, held_out: int) -> tuple[str, str]:
    rows, dim = bank.embeddings.shape
    if rows * dim <= FLAT_PRODUCTS:
        return "flat", f"{rows:,} x {dim} are searched exactly at the price of a small encoder"
    if not held_out:
        return "flat", "there are no held-out images to compare the answers of another index on"
    if k <= FEW_NEIGHBOURS and rows <= MOST_LINKED:
        return "hnsw", f"{k} neighbours of {rows:,} exemplars are few enough for a graph"
    return "ivf", f"{rows:,} x {dim} exemplars and {k} neighbours"
