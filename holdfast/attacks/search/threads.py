"""CPU threads that each take a part of the work whole, where torch would share every layer among them."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


class Map(Protocol):
    """`map`, perhaps by several threads: results come in the order of what they were made from."""

    def __call__(self, function: Callable[[T], R], of: Iterable[T], /) -> Iterator[R]:
        """`function` of each, which several threads may call at once."""
        ...


@contextmanager
def side_by_side(threads: int) -> Iterator[Map]:
    """A `map` by so many threads, within each of which torch computes with one; the builtin, which is lazy, for one thread.

    Where the work is interrupted, what has begun is finished first, and what has not is left undone.
    """
    if threads == 1:
        yield map
        return
    with one_thread_each(), ThreadPoolExecutor(threads, thread_name_prefix="side") as pool:
        yield pool.map


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let torch compute with one thread for each that calls it, and leave it as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
