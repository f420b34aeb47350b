"""From what a caller sends to the encoder's input, without letting a costly image hold up the event loop.

The decoding itself is holdfast.model.images's, so that what was evaluated is what is served. Here is what only a server has to
think of: raw pixels that nobody has checked, what an image will cost, and where the work is done. Handing an image to another
thread costs several times what decoding a small one does; decoding a costly one on the event loop holds up all other calls.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from holdfast.errors import ImageError
from holdfast.model.images import pixels
from holdfast.model.images.fitting import fit
from holdfast.model.images.pixels import MOST_SIDE, Header, Pixels
from holdfast.model.images.price import BASE, fit_price, machine_factor, price
from holdfast.model.preprocess import InputContract
from holdfast.server.core.request import RawImage, Source

INLINE_SECONDS = 1e-3
"""Up to this price an image is decoded on the event loop."""


@dataclass(frozen=True, slots=True)
class DecodePlan:
    """An image as it was sent, looked at but not decoded.

    Attributes:
        source: as it was sent.
        seconds: what it will cost, as engine seconds are counted: expected seconds of this machine.
        header: of an encoded image.
        error: what is wrong with it, as far as its header tells; then it costs as good as nothing.

    """

    source: Source
    seconds: float
    header: Header | None = None
    error: ImageError | None = None


class Decoder:
    """Says what images will cost, and decodes them: cheap ones where it is called, others on threads of its own."""

    def __init__(self, contract: InputContract, *, max_pixels: int, threads: int) -> None:
        self._size, self._max_pixels = contract.size, max_pixels
        self._factor = machine_factor()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def close(self) -> None:
        """End the threads; what they have not begun is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def plan(self, source: Source) -> DecodePlan:
        """Look at an image's header: a few microseconds as a rule, a millisecond at most.

        Raises nothing: what is wrong with an image comes out where it is decoded.
        """
        try:
            if isinstance(source, bytes):
                header = pixels.read_header(source)
                pixels.check_size(header, self._max_pixels)
                return DecodePlan(source, self._factor * price(source, header, self._size), header)
            if source is None:
                raise ImageError("source", "is not set; send encoded bytes or raw pixels")  # noqa: TRY301
            height, width = raw_pixels(source, self._max_pixels).shape[:2]
            return DecodePlan(source, self._factor * (BASE / 8 + fit_price(width, height, self._size)))
        except ImageError as error:
            return DecodePlan(source, self._factor * BASE, error=error)

    def price(self, source: Source) -> float:
        """Expected seconds of this machine to decode an image, by its header alone."""
        return self.plan(source).seconds

    async def decode(self, source: Source | DecodePlan) -> Pixels:
        """uint8 [H, W, 3] as the encoder takes it.

        Raises:
            ImageError: `field` is "source", "encoded", "raw.shape", "raw.dtype" or "raw.data".

        """
        plan = source if isinstance(source, DecodePlan) else self.plan(source)
        if plan.error is not None or plan.seconds <= INLINE_SECONDS:
            return self.decode_here(plan)
        return await asyncio.get_running_loop().run_in_executor(self._pool, self.decode_here, plan)

    def decode_here(self, source: Source | DecodePlan) -> Pixels:
        """The same, on the calling thread."""
        plan = source if isinstance(source, DecodePlan) else self.plan(source)
        if plan.error is not None:
            raise plan.error
        if isinstance(plan.source, bytes) and plan.header is not None:
            return fit(pixels.decode(plan.source, plan.header, self._size, self._max_pixels), self._size)
        assert isinstance(plan.source, RawImage)  # noqa: S101 - all else has an error
        return fit(raw_pixels(plan.source, self._max_pixels), self._size)


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
    if max(shape) > MOST_SIDE:
        raise ImageError("raw.shape", f"has {shape[0]}x{shape[1]} pixels; the limit of a side is {MOST_SIDE}")
    expected = shape[0] * shape[1] * (shape[2] if len(shape) == 3 else 1)
    if len(raw.data) != expected:
        raise ImageError("raw.data", f"has {len(raw.data)} bytes; a shape of {list(shape)} needs {expected}")
    return np.frombuffer(raw.data, dtype=np.uint8).reshape(shape)
