"""Work of seconds beside a server that answers: on a thread that gives way, and its memory given back afterwards."""

import asyncio
import ctypes
import gc
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from holdfast.server.monitor.probes.priority import lower_thread_priority

T = TypeVar("T")

M_MMAP_THRESHOLD, LARGE_BLOCK = -3, 2 * 2**20
"""glibc's number of the parameter (malloc.h), and bytes: more than what a batch of a small encoder needs at once."""

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


def keep_large_blocks_apart() -> None:
    """Have glibc take every block of LARGE_BLOCK bytes from the system, and give it back as soon as it is freed.

    By itself it raises that limit to the size of whatever large block was freed, up to 32 MiB: the parts of the next model
    then lie between small objects that outlive it. To be called once, before the first model is loaded.
    """
    if _mallopt is not None:
        _mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)


def _find(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


_malloc_trim, _mallopt = _find("malloc_trim"), _find("mallopt")
