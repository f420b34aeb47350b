"""What goes between the server and a process that decodes for it. Both sides read this, so it imports next to nothing.

server -> process: a request for each image: REQUEST, then its bytes.
process -> server: READY once, then a reply for each image, in their order: REPLY, then pixels or why there are none.
"""

import struct
from typing import NamedTuple

REQUEST = struct.Struct("<dIHHB")
"""CPU seconds that it may take, bytes; and of raw pixels height, width and channels (0: one without an axis of its own)."""

REPLY = struct.Struct("<BdI")
"""Kind, CPU seconds that it took, bytes."""

READY, PIXELS, REFUSED = range(3)


class DecodeTask(NamedTuple):
    """An image as a process takes it: an encoded file's bytes, or raw pixels of a shape."""

    data: bytes
    shape: tuple[int, ...] = ()

    def header(self, limit: float) -> bytes:
        """What stands before its bytes in a request."""
        height, width, channels = (*self.shape, 0)[:3] if self.shape else (0, 0, 0)
        return REQUEST.pack(limit, len(self.data), height, width, channels)


def shape_of(height: int, width: int, channels: int) -> tuple[int, ...]:
    """The shape of raw pixels; empty for an encoded file."""
    return (height, width, *([channels] if channels else ())) if height else ()
