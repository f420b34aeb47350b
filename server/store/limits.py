"""How much the store takes, and how fast."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from holdfast.server.store.errors import StoreLimitError

MOST_AUTHORS = 1000
"""Authors whose rate is remembered; who has not changed anything for longest is forgotten."""

BURST_S = 10.0
"""Seconds of the allowed rate that may come at once."""


@dataclass(frozen=True)
class StoreLimits:
    """What an operator allows.

    Attributes:
        rows: exemplars, those of the bundle and those in quarantine included.
        classes: of all of them.
        bytes: of the journal on disk.
        rate: exemplars a second that one author may change, on average.
        waiting: exemplars that wait to be stored.

    """

    rows: int = 1_000_000
    classes: int = 10_000
    bytes: int = 10 * 2**30
    rate: float = 2000.0
    waiting: int = 8192


class RateLimit:
    """A bucket of tokens an author. Belongs to one thread.

    Args:
        rate: tokens a second.
        clock: seconds.

    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens that are missing, and when

    def take(self, author: str, tokens: int) -> None:
        """Let an author change so many exemplars now.

        One change may be larger than the bucket, which then takes the longer to fill.

        Raises:
            StoreLimitError: too many; says when to try again.

        """
        now = self._clock()
        missing, since = self._spent.get(author, (0.0, now))
        missing = max(0.0, missing - (now - since) * self._rate)
        if missing > 0 and missing + tokens > self._rate * BURST_S:
            wait = min(missing, missing + tokens - self._rate * BURST_S) / self._rate
            raise StoreLimitError(
                f"{author} changes more than {self._rate:g} exemplars a second: wait {wait:.1f} s, or raise --store-rate", wait
            )
        self._spent[author] = missing + tokens, now
        self._spent.move_to_end(author)
        if len(self._spent) > MOST_AUTHORS:
            self._spent.popitem(last=False)


def check_room(limits: StoreLimits, rows: int, classes: int, stored: int) -> None:
    """Raise StoreLimitError where a change would leave more rows, classes or bytes than are allowed."""
    for what, count, most, flag in (
        ("exemplars", rows, limits.rows, "--store-rows"),
        ("classes", classes, limits.classes, "--store-classes"),
        ("bytes in the store", stored, limits.bytes, "--store-bytes"),
    ):
        if count > most:
            raise StoreLimitError(f"this would make {count:,} {what}, and {most:,} are allowed: delete some, or raise {flag}")
