"""From what a caller sends to the encoder's input, without letting a large image hold up the event loop.

The decoding itself is holdfast.model.preprocess's, so that what was evaluated is what is served. Here is what only a server
has to think of: raw pixels that nobody has checked, and where the work is done. Handing an image to another thread costs
several times what decoding a small one does; decoding a large one on the event loop holds up all other calls.
"""

import asyncio
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from holdfast.errors import ImageError
from holdfast.model import jpeg
from holdfast.model.preprocess import InputContract, Pixels, decode_image, fit
from holdfast.server.core.request import RawImage, Source

# At these sizes an honest image decodes in less than a millisecond.
CHEAP_PIXELS = 128 * 128
CHEAP_BYTES = 16 * 1024  # of a file: its texts may unpack to a thousand times that


class Decoder:
    """Decodes small images where it is called, and large ones on threads of its own."""

    def __init__(self, contract: InputContract, *, max_pixels: int, threads: int) -> None:
        self._contract, self._max_pixels = contract, max_pixels
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def close(self) -> None:
        """End the threads; what they have not begun is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def decode(self, source: Source) -> Pixels:
        """uint8 [H, W, 3] as the encoder takes it.

        Raises:
            ImageError: `field` is "source", "encoded", "raw.shape", "raw.dtype" or "raw.data".

        """
        if is_cheap(source):
            return self.decode_here(source)
        return await asyncio.get_running_loop().run_in_executor(self._pool, self.decode_here, source)

    def decode_here(self, source: Source) -> Pixels:
        """The same, on the calling thread."""
        if source is None:
            raise ImageError("source", "is not set; send encoded bytes or raw pixels")
        if isinstance(source, bytes):
            return decode_image(source, self._contract, max_pixels=self._max_pixels)
        return fit(raw_pixels(source, self._max_pixels), self._contract)


def raw_pixels(raw: RawImage, max_pixels: int) -> Pixels:
    """Check raw pixels as a caller sent them. Returns uint8 [h, w], [h, w, 1] or [h, w, 3], a view of the bytes.

    Raises:
        ImageError: dtype, shape and length of the data, in this order.

    """
    if raw.dtype != "uint8":
        raise ImageError("raw.dtype", f"is {raw.dtype}; only DATA_TYPE_UINT8 is taken")
    shape = raw.shape
    if len(shape) not in {2, 3} or min(shape) < 1 or (len(shape) == 3 and shape[2] not in {1, 3}):
        raise ImageError("raw.shape", f"is {list(shape)}; send [h, w], [h, w, 1] or [h, w, 3] with sides of 1 or more")
    if shape[0] * shape[1] > max_pixels:
        raise ImageError("raw.shape", f"has {shape[0]}x{shape[1]} pixels; the limit is {max_pixels} in all")
    expected = shape[0] * shape[1] * (shape[2] if len(shape) == 3 else 1)
    if len(raw.data) != expected:
        raise ImageError("raw.data", f"has {len(raw.data)} bytes; a shape of {list(shape)} needs {expected}")
    return np.frombuffer(raw.data, dtype=np.uint8).reshape(shape)


def is_cheap(source: Source) -> bool:
    """Whether decoding takes less time than a hand-over to a thread. Reads headers only, and decides nothing but the place."""
    if isinstance(source, bytes):
        if len(source) > CHEAP_BYTES:
            return False
        pixels = _declared_pixels(source)
        return pixels is not None and pixels <= CHEAP_PIXELS
    return source is None or len(source.data) <= 3 * CHEAP_PIXELS


def _declared_pixels(encoded: bytes) -> int | None:
    """Width x height by the header of a PNG or JPEG; 0 for what is no image at all; None where it takes a real look."""
    if encoded[:8] == b"\x89PNG\r\n\x1a\n":
        if len(encoded) < 24:
            return 0
        width, height = struct.unpack_from(">II", encoded, 16)
        return int(width * height)
    if encoded[:2] == jpeg.START:
        header = jpeg.read_header(encoded)
        return header.width * header.height if header else None
    return None if encoded[:4] == b"RIFF" else 0
