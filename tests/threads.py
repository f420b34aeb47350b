"""Threads of one process of tests: what one does beside a test must not be taken for what the test does."""

import gc
import sys
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[1]

GRACE_S = 10.0
"""Seconds that threads get to end: what stops them need not wait for them."""


def left_since(before: Collection[threading.Thread], grace: float = GRACE_S) -> list[str]:
    """Threads that are not among those of before and do not end within `grace` seconds, each with the line it is at.

    Those that count run code of this repository, or hold up the end of the process. An idle one of a pool does neither, nor
    does an event loop in which nothing happens.
    """
    give_up = time.monotonic() + grace
    while found := _left(before):
        if time.monotonic() > give_up:
            return [f"{thread.name} at {place}" for thread, place in found.items()]
        gc.collect()  # a pool that nobody has any more ends its threads
        time.sleep(0.01)
    return []


def _left(before: Collection[threading.Thread]) -> dict[threading.Thread, str]:
    new = [thread for thread in threading.enumerate() if thread not in before]
    if not new:
        return {}
    frames = sys._current_frames()
    places = {thread: _place_of(frames.get(thread.ident or 0)) for thread in new}
    return {thread: place or "code of others" for thread, place in places.items() if place or not thread.daemon}


def _place_of(frame: FrameType | None) -> str | None:
    """Where a thread is in our code."""
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(REPOSITORY) and "site-packages" not in path.parts:
            return f"{path.relative_to(REPOSITORY)}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def replace_here(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, method: Callable[..., Any]) -> None:
    """Give a class another method, for calls from this thread alone."""
    was, ours = getattr(owner, name), threading.get_ident()

    def chosen(*args: Any, **options: Any) -> Any:
        return (method if threading.get_ident() == ours else was)(*args, **options)

    monkeypatch.setattr(owner, name, chosen)
