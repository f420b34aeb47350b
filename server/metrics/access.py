"""Metrics of who is let in: calls that are refused, and the files of tokens and certificates that this rests on."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge

Listener = Literal["public", "admin", "page"]


class RefusalReason(StrEnum):
    """Why a call was refused."""

    MISSING = "missing"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REMOVED = "removed"
    SCOPE = "scope"


class FileKind(StrEnum):
    """What a file holds that the server reads again when it changes."""

    TOKENS = "tokens"
    CERTIFICATE = "certificate"


class AccessMetrics:
    """Of every listener.

    Args:
        registry: of the process that listens; None where it does not.

    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._refused = Counter(
            "holdfast_auth_failures_total",
            "Calls refused for want of a credential: none sent, unknown, expired, removed during a stream, without the scope.",
            ("listener", "reason"),
            registry=registry,
        )
        self._reads = Counter(
            "holdfast_access_file_reads_total",
            "Changed files of tokens and certificates, by whether they could be used; after refused those of before stay.",
            ("listener", "file", "outcome"),
            registry=registry,
        )
        self._current = Gauge(
            "holdfast_access_file_current",
            "1 if what is in use is what the file holds, 0 where the file has become unusable.",
            ("listener", "file"),
            registry=registry,
        )
        self._expiry = Gauge(
            "holdfast_certificate_expiry_timestamp_seconds",
            "When the server's certificate expires, seconds since 1970.",
            ("listener",),
            registry=registry,
        )

    def asks_for_tokens(self, listener: Listener) -> None:
        """Show the counters of a listener that asks for tokens from the start."""
        for reason in RefusalReason:
            self._refused.labels(listener, reason)

    def refused(self, listener: Listener, reason: RefusalReason) -> None:
        """One call was refused."""
        self._refused.labels(listener, reason).inc()

    def follows(self, listener: Listener, file: FileKind) -> None:
        """A file was read at the start."""
        for outcome in ("read", "refused"):
            self._reads.labels(listener, file, outcome)
        self._current.labels(listener, file).set(1)

    def read_again(self, listener: Listener, file: FileKind, *, usable: bool) -> None:
        """A file has changed, and was read."""
        self._reads.labels(listener, file, "read" if usable else "refused").inc()
        self._current.labels(listener, file).set(usable)

    def certificate_expires(self, listener: Listener, moment: datetime) -> None:
        """Until when the certificate in use is valid."""
        self._expiry.labels(listener).set(moment.timestamp())
