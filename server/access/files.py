"""Files that an operator changes while the server runs: whether one has changed, and a task that looks now and then."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.4
"""Seconds between two looks: what is taken out of a file is in force within a second."""


def fingerprint(path: Path) -> tuple[int, ...]:
    """What changes whenever a file is written or replaced; () where it is not there. Links are followed."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev


@dataclass(frozen=True)
class CertificateFiles:
    """Where they lie, all as PEM.

    Attributes:
        chain: the server's certificate, followed by those between it and its signer.
        key: the private key of the first, without a passphrase.
        client_ca: certificates of those who sign clients' certificates, which are then asked for; None: they are not.

    """

    chain: Path
    key: Path
    client_ca: Path | None = None

    @property
    def fingerprint(self) -> tuple[tuple[int, ...], ...]:
        """What changes whenever one of them is written or replaced."""
        return tuple(fingerprint(path) for path in (self.chain, self.key, self.client_ca) if path is not None)


@dataclass(frozen=True)
class ListenerAccess:
    """What is set for one listener.

    Attributes:
        token_file: whose tokens are asked for; None: nobody is asked for one.
        certificate: None: connections are not encrypted.
        warn_within: how long before the certificate expires the log begins to say so.

    """

    token_file: Path | None
    certificate: CertificateFiles | None = None
    warn_within: timedelta = timedelta(days=21)


@dataclass(frozen=True)
class HeldContent:
    """What one process has read last of files that it could use, for another that may find them unusable.

    Attributes:
        tokens: the text of the file of tokens; None where none are asked for.
        certificates: the bytes of chain, key and, where clients show certificates, of their signers'; () without TLS.

    """

    tokens: str | None = field(default=None, repr=False)
    certificates: tuple[bytes, ...] = field(default=(), repr=False)


class FileFollower:
    """Looks at files now and then, on a thread, and afterwards does on the event loop what follows from it.

    Args:
        look: reads what has changed.
        then: called on the loop after every look.
        interval: seconds between two looks.

    """

    def __init__(self, look: Callable[[], object], then: Callable[[], None], *, interval: float = LOOK_EVERY_S) -> None:
        self._look, self._then, self._interval = look, then, interval
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            try:
                await asyncio.to_thread(self._look)
                self._then()
            except Exception:  # it goes on looking, or tokens taken out would stay in force for ever
                log.exception("a look at the files of tokens and certificates failed")
