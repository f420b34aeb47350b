"""How a long command ends before it has done: when its minutes are over, by ctrl-c, by SIGTERM. What it has done is kept."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from holdfast.errors import HoldfastError

# Exit statuses. 75 is EX_TEMPFAIL of sysexits.h, try again later; the others are what a shell makes of the signals.
TIME_UP, INTERRUPTED, TERMINATED = 75, 130, 143


class TimeUpError(HoldfastError):
    """The minutes of this invocation are over; what it has done is kept, and the same command goes on from there."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, where `sigterm_interrupts`."""


def status_of(interruption: KeyboardInterrupt) -> int:
    """The exit status of a command that was interrupted."""
    return TERMINATED if isinstance(interruption, Terminated) else INTERRUPTED


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold ctrl-c and SIGTERM back until the end: native libraries end the process where one comes while they are loaded."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM end what is done inside as ctrl-c does, by an exception, so that what is done is kept and time is counted.

    The second one ends the process as it always does. Does nothing outside of the main thread, which alone may ask for signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    before = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL

    def interrupt(*_: Any) -> None:
        signal.signal(signal.SIGTERM, before)
        raise Terminated

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
