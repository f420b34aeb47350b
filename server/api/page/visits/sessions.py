"""Who has signed in to the page, forms that only the page itself can send, and how often a sign-in may fail."""

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from holdfast.server.access.tokens import TokenRecord

BYTES = 32
"""Of the system's randomness in a session's id."""

ADDRESSES = 4096
"""Addresses whose failed sign-ins are remembered; of more, those that failed last."""

WINDOW_S = 60.0
"""Seconds in which failed sign-ins are counted."""


class SessionsFullError(Exception):
    """There is no room for another session."""

    def __init__(self) -> None:
        super().__init__("too many people are signed in: try again later, or raise --page-sessions")


@dataclass(slots=True)
class _Kept:
    digest: bytes
    record: TokenRecord
    ends: float


class PageSessions:
    """Sign-ins that are in force. Belongs to one event loop.

    Ids are kept as keyed hashes, so neither memory nor the time that a look takes says anything of them.

    Args:
        most: at a time; where there are so many, another one of the same token takes the place of its oldest.
        seconds: after which a session ends.
        valid: whether a token is still what it was; a session ends with its token.
        now: seconds, of a clock that never goes back.

    """

    def __init__(
        self, most: int, seconds: float, valid: Callable[[TokenRecord], bool], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._seconds, self._valid, self._now = most, seconds, valid, now
        self._key = secrets.token_bytes(BYTES)
        self._sessions: OrderedDict[bytes, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def begin(self, record: TokenRecord) -> str:
        """The id of a new session of a token's holder. Raises SessionsFullError."""
        self._forget_ended()
        if len(self._sessions) >= self._most:
            oldest = next((place for place, kept in self._sessions.items() if kept.record.name == record.name), None)
            if oldest is None:
                raise SessionsFullError
            del self._sessions[oldest]
        given = secrets.token_urlsafe(BYTES)
        digest = self._digest_of(given)
        self._sessions[digest[:16]] = _Kept(digest, record, self._now() + self._seconds)
        return given

    def find(self, given: str) -> TokenRecord | None:
        """Whose session that is; None where it has ended, or never was."""
        digest = self._digest_of(given)
        kept = self._sessions.get(digest[:16])
        if kept is None or not hmac.compare_digest(kept.digest, digest):
            return None
        if self._has_ended(kept):
            del self._sessions[digest[:16]]
            return None
        return kept.record

    def end(self, given: str) -> None:
        """Its holder signs out."""
        self._sessions.pop(self._digest_of(given)[:16], None)

    def _forget_ended(self) -> None:
        for place in [place for place, kept in self._sessions.items() if self._has_ended(kept)]:
            del self._sessions[place]

    def _has_ended(self, kept: _Kept) -> bool:
        return self._now() >= kept.ends or not self._valid(kept.record)

    def _digest_of(self, given: str) -> bytes:
        return hashlib.blake2b(given.encode("utf-8", "surrogateescape"), key=self._key, digest_size=32).digest()


class FormTokens:
    """What a form has to bring with it, so that another site's form is refused: a keyed hash of its sender's cookie."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(BYTES)

    def of(self, cookie: str) -> str:
        """For the forms of whoever has this cookie."""
        return hmac.new(self._key, cookie.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()

    def is_of(self, cookie: str, given: str) -> bool:
        """Whether a form came from whoever has this cookie; in a time that does not depend on where it differs."""
        return hmac.compare_digest(self.of(cookie).encode(), given.encode("utf-8", "replace"))


class SignInLimit:
    """Counts failed sign-ins by address; of IPv6 by the network of 64 bits that one customer has.

    Args:
        most: of one address in WINDOW_S.
        now: seconds, of a clock that never goes back.

    """

    def __init__(self, most: int, now: Callable[[], float] = time.monotonic) -> None:
        self._most, self._now = most, now
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()  # when the first was, and how many

    def wait(self, address: str) -> float:
        """Seconds until this address may try again; 0: now."""
        began, failed = self._failures.get(_network_of(address), (0.0, 0))
        return max(0.0, began + WINDOW_S - self._now()) if failed >= self._most else 0.0

    def failed(self, address: str) -> None:
        """A sign-in has failed."""
        network, now = _network_of(address), self._now()
        began, failed = self._failures.pop(network, (now, 0))
        if now >= began + WINDOW_S:
            began, failed = now, 0
        self._failures[network] = began, failed + 1
        if len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)


def _network_of(address: str) -> str:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else address
