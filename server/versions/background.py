"""Work of seconds beside a server that answers: on a thread that gives way, and its memory given back afterwards."""

import asyncio
import ctypes
import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from holdfast.server.monitor.probes.priority import lower_thread_priority

T = TypeVar("T")

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's numbers of the parameters (malloc.h)."""

LARGE_BLOCK = 2 * 2**20
"""Bytes: more than what a batch of a small encoder needs at once."""

REUSED_BLOCK, KEPT_FREE = 16 * 2**20, 32 * 2**20
"""Bytes: the largest blocks that glibc takes of what was freed, and what it keeps for that at the end of the heap."""

LET_GO_S = 5.0
"""Seconds that a model which is served no longer gets to be let go by everybody: batches in flight, probes, callers."""


async def in_background(function: Callable[[], T]) -> T:
    """Run it on a thread of low priority that ends with it. A cancelled caller leaves it to end by itself.

    The thread does not hold up the end of the process, as an executor's would.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def deliver(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]  # a result of T, as there was no error
        else:
            future.set_exception(error)

    def run() -> None:
        lower_thread_priority()
        result: T | None = None
        error: BaseException | None = None
        try:
            result = function()
        except BaseException as raised:  # noqa: BLE001 - raised again where it is waited for
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(deliver, result, error)

    threading.Thread(target=run, name="versions", daemon=True).start()
    return await future


def give_back(is_gone: Callable[[], bool]) -> bool:
    """Wait until nobody holds on to what is to go, then return its memory to the system. Returns whether it is gone."""
    give_up = time.monotonic() + LET_GO_S
    while not is_gone() and time.monotonic() < give_up:
        time.sleep(0.02)
    if not is_gone():
        gc.collect()
    trim_memory()
    return is_gone()


def trim_memory() -> None:
    """Let glibc return free memory to the system; nothing happens with another C library.

    What is freed in pieces stays with the process otherwise, and with each thread that once loaded a model.
    """
    if _malloc_trim is not None:
        _malloc_trim(0)


@contextmanager
def large_blocks_apart() -> Iterator[None]:
    """Have glibc take every block of LARGE_BLOCK bytes from the system meanwhile, and give it back as soon as it is freed.

    Otherwise the parts of a model lie between small objects that outlive it. Not for good: a long message lives for
    milliseconds, and the system clears each page of it first, which takes three times as long as all the rest of reading it.
    So afterwards what is freed is used again, blocks up to REUSED_BLOCK, and KEPT_FREE bytes of it are kept.
    """
    with _loading:
        _loads.append(None)
        _take_from_system(LARGE_BLOCK)
    try:
        yield
    finally:
        with _loading:
            _loads.pop()
            if not _loads:
                _take_from_system(REUSED_BLOCK)


def _take_from_system(threshold: int) -> None:
    """Set from which size on blocks are taken from the system, one by one."""
    if _mallopt is not None:
        _mallopt(M_MMAP_THRESHOLD, threshold)
        _mallopt(M_TRIM_THRESHOLD, KEPT_FREE)


def _find(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


_malloc_trim, _mallopt = _find("malloc_trim"), _find("mallopt")
_loading, _loads = threading.Lock(), list[None]()  # how many loads are under way
