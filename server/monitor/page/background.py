"""The one thread of the live page: it gives way to all others, keeps a budget of CPU time, and does one attack at a time."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, TypeVar

from holdfast.server.monitor.probes.budget import CpuBudget
from holdfast.server.monitor.probes.priority import lower_thread_priority

T = TypeVar("T")

PAUSE_S = 0.05
"""Seconds between two looks at the budget, at most."""


class BenchBusyError(Exception):
    """An attack is running already."""

    def __init__(self) -> None:
        super().__init__("another attack is running; one runs at a time")


class _News(Generic[T]):
    """Hands the latest of something from a thread to a loop; what was not taken in time is passed over."""

    def __init__(self) -> None:
        self._loop, self._changed = asyncio.get_running_loop(), asyncio.Event()
        self._latest: list[T] = []
        self._ended = False
        self._error: BaseException | None = None

    def put(self, item: T) -> None:
        """On the thread."""
        self._tell(lambda: self._latest.__setitem__(slice(None), [item]))

    def end(self, error: BaseException | None) -> None:
        """On the thread: nothing follows."""
        self._tell(lambda: self._set_end(error))

    async def __aiter__(self) -> AsyncIterator[T]:
        """On the loop. Raises what it ended with."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._latest:
                yield self._latest.pop()
            if self._ended:
                if self._error is not None:
                    raise self._error
                return

    def _set_end(self, error: BaseException | None) -> None:
        self._ended, self._error = True, error

    def _tell(self, change: Callable[[], object]) -> None:
        def on_loop() -> None:
            change()
            self._changed.set()

        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(on_loop)


class BenchThread:
    """Runs what takes long. Belongs to one event loop.

    Args:
        budget: CPU seconds per second that attacks may take.
        seconds: after which an attack ends with what it has found.

    """

    def __init__(self, budget: float, seconds: float) -> None:
        self._rate, self._seconds = budget, seconds
        # An attack has a thread of its own, so that a picture is answered meanwhile.
        self._quick = ThreadPoolExecutor(1, "page", initializer=lower_thread_priority)
        self._long = ThreadPoolExecutor(1, "page-attack", initializer=lower_thread_priority)
        self._busy = False
        self._stopping = threading.Event()

    async def do(self, function: Callable[[], T]) -> T:
        """Run something short, after what is short and waits."""
        return await asyncio.get_running_loop().run_in_executor(self._quick, function)

    def close(self) -> None:
        """Let nothing begin any more, and end what runs at its next step."""
        self._stopping.set()
        for executor in (self._quick, self._long):
            executor.shutdown(wait=False, cancel_futures=True)

    async def steps(self, begin: Callable[[], Iterator[T]]) -> AsyncGenerator[T, None]:
        """What an attack yields, the latest at a time; who leaves ends it, and so does the limit of seconds.

        Raises:
            BenchBusyError: another one runs.

        """
        if self._busy:
            raise BenchBusyError
        self._busy = True
        leaving, news = threading.Event(), _News[T]()
        running = asyncio.get_running_loop().run_in_executor(self._long, self._run, begin, news, leaving)
        running.add_done_callback(lambda _: self._free())
        try:
            async for each in news:
                yield each
            await asyncio.wait({running})  # so that whoever has the last of it may ask for another one
        finally:
            leaving.set()

    def _free(self) -> None:
        self._busy = False

    def _run(self, begin: Callable[[], Iterator[T]], news: _News[T], leaving: threading.Event) -> None:
        budget, give_up = CpuBudget(self._rate), time.monotonic() + self._seconds
        error: BaseException | None = None
        try:
            for each in begin():
                news.put(each)
                while (nap := budget.wait()) > 0 and not self._is_over(leaving, give_up):
                    leaving.wait(min(nap, PAUSE_S))
                if self._is_over(leaving, give_up):
                    break
        except Exception as raised:  # noqa: BLE001 - raised again where it is waited for
            error = raised
        news.end(error)

    def _is_over(self, leaving: threading.Event, give_up: float) -> bool:
        return leaving.is_set() or self._stopping.is_set() or time.monotonic() >= give_up
