"""What every process of the server does: wait for signals, choose its event loop, tune the garbage collector."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

log = logging.getLogger(__name__)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop of uvloop where there is one: a quarter less CPU per call."""
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 - not on Windows

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def stop_signal(*signals: signal.Signals) -> "asyncio.Future[str]":
    """Resolves with the signal's name. The second signal ends the process at once, wherever it is, and says nothing."""
    loop = asyncio.get_running_loop()
    stopping: asyncio.Future[str] = loop.create_future()

    def receive(received: signal.Signals) -> None:
        for each in signals:
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)  # an exception out of ctrl-c would come in the midst of the loop
        if not stopping.done():
            stopping.set_result(received.name)

    for each in signals:
        loop.add_signal_handler(each, receive, each)
    return stopping


@contextmanager
def batch_threads(wanted: bool = True) -> Iterator[None]:
    """Threads that this one starts meanwhile, and threads of theirs, never take the CPU from others as soon as they have work.

    They run as Linux's SCHED_BATCH, which takes nothing else: their share of the CPU is the same. Where another policy than the
    ordinary one was chosen, by `chrt` as it may be, that is kept.
    """
    if not wanted or sys.platform != "linux" or os.sched_getscheduler(0) != os.SCHED_OTHER:
        yield
        return
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError as error:
        log.warning("this system does not let threads run as SCHED_BATCH, which costs some CPU: %s", error)
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


async def run_unless(stopping: "asyncio.Future[str]", work: Coroutine[Any, Any, None]) -> bool:
    """Run `work` and raise what it raises, unless `stopping` is resolved first. Returns whether it came to its end."""
    working = asyncio.create_task(work)
    either: set[asyncio.Future[Any]] = {working, stopping}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if working.done():
        await working
        return True
    working.cancel()
    await asyncio.wait({working})
    return False


def quiet_collector() -> None:
    """Keep the garbage collector from searching what is loaded now; to be called once the process is warm.

    Calls in flight are many small objects that live for milliseconds: at its usual threshold the collector would run every
    ten calls, in vain.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
