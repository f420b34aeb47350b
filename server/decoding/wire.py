"""What goes between the server and a process that decodes for it. Both sides read this, so it imports next to nothing.

server -> process: a request for each image: REQUEST, then its bytes.
process -> server: READY once, then a reply for each image, in their order: REPLY, then pixels or why there are none.
"""

import struct
from typing import NamedTuple

REQUEST = struct.Struct("<dIHHB?")
"""CPU seconds that it may take, bytes; of raw pixels height, width and channels (0: one without an axis of its own); and
whether it is a recording."""

REPLY = struct.Struct("<BdI")
"""Kind, CPU seconds that it took, bytes."""

READY, PIXELS, REFUSED = range(3)
"""Kinds of reply. Pixels are those of one image, or of all windows of a recording one after the other."""


class DecodeTask(NamedTuple):
    """An image as a process takes it: an encoded file's bytes, raw pixels of a shape, or a recording's bytes."""

    data: bytes
    shape: tuple[int, ...] = ()
    recorded: bool = False

    @property
    def field(self) -> str:
        """What is at fault where it cannot be decoded."""
        return "audio" if self.recorded else "encoded"

    def header(self, limit: float) -> bytes:
        """What stands before its bytes in a request."""
        height, width, channels = (*self.shape, 0)[:3] if self.shape else (0, 0, 0)
        return REQUEST.pack(limit, len(self.data), height, width, channels, self.recorded)


def shape_of(height: int, width: int, channels: int) -> tuple[int, ...]:
    """The shape of raw pixels; empty for an encoded file."""
    return (height, width, *([channels] if channels else ())) if height else ()
