"""Frames: a length of four bytes, then that many bytes. Both ends are on one machine, so numbers are in its byte order."""

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

LENGTH = struct.Struct("=I")
MOST_FRAME_BYTES = 2**32 - 1
"""Most bytes that a frame can have."""


class WireError(Exception):
    """What came over a link is no message of ours."""


def frame(*parts: bytes | NDArray[np.uint8]) -> bytes:
    """One frame around the parts, joined; arrays as they lie in memory."""
    length = sum(part.nbytes if isinstance(part, np.ndarray) else len(part) for part in parts)
    return b"".join((LENGTH.pack(length), *parts))  # type: ignore[arg-type]


class FrameReader:
    """Cuts a stream of bytes into frames.

    Args:
        most: bytes of the longest frame that is believed.

    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._rest: list[bytes | memoryview] = []
        self._have, self._need = 0, LENGTH.size

    def feed(self, data: bytes) -> list[memoryview]:
        """The frames that are whole with these bytes, each without its length; views of what was fed.

        Raises:
            WireError: a frame longer than can be.

        """
        self._have += len(data)
        if self._rest:
            # Joined only once a frame is whole: a long one comes in many pieces, and each join copies all of them.
            self._rest.append(data)
            if self._have < self._need:
                return []
            data = b"".join(self._rest)
        view, start, frames = memoryview(data), 0, []
        self._need = LENGTH.size
        while len(view) - start >= LENGTH.size:
            (length,) = LENGTH.unpack_from(view, start)
            if length > self._most:
                raise WireError(f"a frame of {length} bytes, where {self._most} are the most")
            if len(view) - start < LENGTH.size + length:
                self._need = LENGTH.size + length
                break
            frames.append(view[start + LENGTH.size : start + LENGTH.size + length])
            start += LENGTH.size + length
        self._have = len(view) - start
        self._rest = [view[start:]] if self._have else []
        return frames


class Link(asyncio.Protocol):
    """One end of a socket pair on an event loop. What is not a message of ours closes it, and the log says why.

    Args:
        name: for the log.
        most: bytes of the longest frame that is believed.
        receive: takes each frame; raises WireError for what it cannot read. The frame's memory stays as it is.
        lost: called once, when the link is closed by whichever side.

    """

    def __init__(self, name: str, most: int, receive: Callable[[memoryview], None], lost: Callable[[], None]) -> None:
        self._name, self._reader, self._receive, self._lost = name, FrameReader(most), receive, lost
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self.is_open = False
        self.closed = asyncio.Event()

    async def open(self, end: socket.socket) -> None:
        """Begin, on the running loop; `end` is the link's from now on."""
        end.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=end)

    def send(self, data: bytes) -> None:
        """Send whole frames; nothing happens where the link is closed."""
        if not self.is_open:
            return
        # A batch's answers become one write: each write has a cost of its own, whatever its size.
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(data)

    def close(self) -> None:
        """Close once everything is sent."""
        self._flush()
        self.is_open = False
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        if self._transport is not None and self.is_open and self._unsent:
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio's."""
        self._transport, self.is_open = cast("asyncio.Transport", transport), True  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        """Asyncio's."""
        try:
            for body in self._reader.feed(data):
                self._receive(body)
        except WireError as error:
            log.error("%s is closed, for what came over it is no message: %s", self._name, error)  # noqa: TRY400
            self._abort()
        except Exception:
            log.exception("%s is closed, for a message could not be taken", self._name)
            self._abort()

    def _abort(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Asyncio's."""
        del error  # whatever it was: the other side is gone
        self.is_open = False
        self.closed.set()
        self._lost()
