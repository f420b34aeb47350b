"""One caller among others: who counts as one, and how many images a second one may send."""

import time
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address

MOST_CALLERS = 10_000
"""Callers whose rate is remembered. Each takes about 200 bytes; whoever has paused for long is forgotten first."""

IPV6_NETWORK_BITS = 64


@lru_cache(4096)
def caller_key(caller: str) -> str:
    """What counts as one caller. Of IPv6 that is the network of 64 bits: whoever has one address there has all of them."""
    if ":" not in caller:
        return caller
    try:
        address = IPv6Address(caller)
    except ValueError:
        return caller
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> IPV6_NETWORK_BITS << IPV6_NETWORK_BITS)) + f"/{IPV6_NETWORK_BITS}"


class CallerRates:
    """A token bucket for each caller, in images.

    Args:
        rate: images a second on average.
        burst: images that may come at once after a pause.
        clock: seconds.

    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._spent: dict[str, tuple[float, float]] = {}  # images that are missing from a bucket, and when that was so

    def __len__(self) -> int:
        return len(self._spent)

    def wait(self, caller: str, images: int) -> float:
        """Seconds after which so many images may be taken; 0 where they may be now.

        A call of more images than a burst is let through by a full bucket, and paid for afterwards.
        """
        return max(0.0, self._missing(caller) + min(images, self._burst) - self._burst) / self._rate

    def take(self, caller: str, images: int) -> None:
        """Count so many images."""
        missing = self._missing(caller)
        self._spent.pop(caller, None)  # so that the order is that of the latest calls
        self._spent[caller] = missing + images, self._clock()
        if len(self._spent) > MOST_CALLERS:
            del self._spent[next(iter(self._spent))]

    def _missing(self, caller: str) -> float:
        missing, since = self._spent.get(caller, (0.0, 0.0))
        return max(0.0, missing - self._rate * (self._clock() - since)) if missing else 0.0
