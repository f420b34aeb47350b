"""What a program does while its user waits, said in its log, and only where that takes more than a moment."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

MOMENT_S = 0.5


@contextmanager
def waiting(log: logging.Logger, doing: str, *, after: float = MOMENT_S) -> Iterator[None]:
    """Say what is being done if it has not ended in `after` seconds, and how long it took once it has.

    Args:
        log: where it is said, at INFO; a program decides whether that is shown.
        doing: such as "reading the index"; a participle, for it is still being done when it is said.
        after: seconds, 0 says it at once.

    """
    begun, said = time.monotonic(), threading.Event()

    def say() -> None:
        said.set()
        log.info("%s ...", doing)

    timer = threading.Timer(after, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if said.is_set():
        log.info("%s took %.1f s", doing, time.monotonic() - begun)
