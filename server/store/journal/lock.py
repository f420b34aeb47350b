"""One process at a time writes to a store."""

import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from holdfast.server.store.errors import StoreError, StoreLockedError

LOCK = "lock"


class StoreLock:
    """Held until it is released or the process ends, however it ends: the lock is the system's, the file only says whose."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, directory: Path) -> Self:
        """Take a directory's lock.

        Raises:
            StoreLockedError: another process has it; says which.
            StoreError: this system has no such locks.

        """
        try:
            import fcntl  # noqa: PLC0415 - not on Windows
        except ImportError:
            raise StoreError("a store of exemplars needs a system with file locks, as Linux and macOS are") from None
        path = directory / LOCK
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "a process that has just begun"
            os.close(descriptor)
            raise StoreLockedError(
                f"{directory} is being written by {holder}: one server at a time changes a store, so end that one or choose"
                " another --store"
            ) from None
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        os.ftruncate(descriptor, 0)
        with suppress(OSError):  # on a full disk nobody is told who holds it; it is held all the same
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {now}\n".encode(), 0)
        return cls(descriptor)

    def release(self) -> None:
        """Let others have it."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
