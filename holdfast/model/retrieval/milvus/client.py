"""The connection to a Milvus server: every error of its client becomes one of holdfast's, and an outage is known once."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from pymilvus import MilvusClient
from pymilvus.exceptions import ConnectError, MilvusException, MilvusUnavailableException

from holdfast.errors import BundleError, RetrieverUnavailableError
from holdfast.model.retrieval.milvus.address import TOKEN_VARIABLE, CollectionRecord, effective_address, token

log = logging.getLogger(__name__)

# The client logs a traceback for each call that fails. Here it becomes one error, which who reads it can use.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)

RETRY_EVERY_S = 0.25
"""While the server does not answer, one search in this time finds out whether it does again; the others fail at once."""

LONGEST_BACKOFF_MS = 1000
"""Between two attempts to connect. Without it gRPC waits up to two minutes after a long outage, though the server is back."""


def connect(record: CollectionRecord, timeout: float) -> Any:
    """A client of the server that holds a collection. Raises as `translated` does."""
    with translated(record):
        return MilvusClient(
            uri=effective_address(record.address),
            token=token(),
            db_name=record.database,
            timeout=timeout,
            dedicated=True,
            grpc_options={"grpc.max_reconnect_backoff_ms": LONGEST_BACKOFF_MS},
        )


_PASSING = (
    "timeout",
    "timed out",
    "deadline",
    "unavailable",
    "not ready",
    "connect",
    "not healthy",
    "node offline",
    "not loaded",
)
"""What the messages of errors that go away by themselves have in them: Milvus has no code for it that is sure."""


@contextmanager
def translated(record: CollectionRecord) -> Iterator[None]:
    """Turn the client's errors into holdfast's.

    Raises:
        RetrieverUnavailableError: the server is not there, or does not answer in time.
        BundleError: it refuses: a wrong password, a collection that was dropped, a limit.

    """
    try:
        yield
    except grpc.RpcError as error:  # the client lets some codes through as they are, DEADLINE_EXCEEDED for one
        raise RetrieverUnavailableError(f"{_server(record)} does not answer: {error.code().name}") from error
    except MilvusException as error:
        if _unreachable(error):
            raise RetrieverUnavailableError(f"{_server(record)} does not answer: {error.message}") from error
        raise BundleError(f"{_server(record)} refuses: {error.message} (credentials come from {TOKEN_VARIABLE})") from error


def _server(record: CollectionRecord) -> str:
    return f"the Milvus server at {effective_address(record.address)}"


def _unreachable(error: MilvusException) -> bool:
    """Whether it may go away by itself: no connection, no answer in time, a server that is starting or ending."""
    if isinstance(error, ConnectError | MilvusUnavailableException):
        return True
    text = f"{error.code} {error.message}".lower()
    return any(sign in text for sign in _PASSING)


class Outage:
    """Whether searches of a collection are answered. While they are not, one at a time tries again.

    Args:
        where: the collection, for the log.
        timeout: seconds that a search may take.

    """

    def __init__(self, where: str, timeout: float) -> None:
        self._where, self._timeout = where, timeout
        self._lock = threading.Lock()
        self._retry_at = 0.0  # time.monotonic() from which a search may try again; 0 while all is well
        self._since, self._reason = 0.0, ""

    def refuse(self) -> bool:
        """Whether this is the search that tries again after an outage.

        Raises:
            RetrieverUnavailableError: it is another one, during an outage.

        """
        with self._lock:
            if not self._retry_at:
                return False
            if time.monotonic() < self._retry_at:
                raise RetrieverUnavailableError(self._reason)
            self._retry_at = time.monotonic() + RETRY_EVERY_S + self._timeout
            return True

    def begin(self, reason: str) -> None:
        """A search was not answered. It is logged once an outage."""
        with self._lock:
            now = time.monotonic()
            if not self._retry_at:
                self._since = now
                log.error("%s; what needs it fails until it answers", reason)
            self._reason, self._retry_at = reason, now + RETRY_EVERY_S

    def end(self) -> None:
        """A search was answered. It is logged where there was an outage."""
        with self._lock:
            if self._retry_at:
                log.warning("%s answers again, after %.1f s", self._where, time.monotonic() - self._since)
                self._retry_at = 0.0
