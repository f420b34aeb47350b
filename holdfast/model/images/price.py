"""What an image will cost to decode, in seconds, by its header alone.

A price is an estimate for who has to decide before decoding: whether there is time, and where to do it. The figures are of
one core of a shared AMD EPYC, fitted to flat images, photographs and noise of 32 to 4,096 pixels a side, and rather high than
low: of files made to cost much they are within a factor of two. `machine_factor` says how much slower another machine is.
"""

import time
import zlib
from functools import cache

from holdfast.errors import ImageError
from holdfast.model.images import jpeg, pixels, png, webp
from holdfast.model.images.fitting import FILTERS, MOST_BETWEEN, Fitting

BASE = 40e-6
"""Of any image, however small."""

CHUNK, SEGMENT = 0.4e-6, 1e-6
LARGE = 2**19
"""Pixels from which each costs more: memory is new to the process, and no cache holds it."""

SCANS_SOUGHT = 2**18
"""Bytes of a picture in which scans are counted; further on as many are assumed as there were."""

_REFERENCE = 950e-6  # seconds that `_measured` takes where the figures are of
_SIDE = 256


def price(encoded: bytes, header: pixels.Header, fitting: Fitting) -> float:
    """Seconds of CPU to decode an image and fit it, on the machine of the figures."""
    if isinstance(header, png.PngHeader):
        return BASE + _png(header) + fit_price(header.width, header.height, fitting)
    if isinstance(header, webp.WebpHeader):
        return BASE + _webp(len(encoded), header) + fit_price(header.width, header.height, fitting)
    fraction = jpeg.fraction(header, jpeg.least_size(header, fitting.whole, header.width * header.height))
    width, height = -(-header.width // fraction), -(-header.height // fraction)
    return BASE + _jpeg(encoded, header, width * height) + fit_price(width, height, fitting)


def fit_price(width: int, height: int, fitting: Fitting) -> float:
    """Seconds to resize decoded pixels to the encoder's size; a filter that reaches farther takes as much longer."""
    if (height, width) == fitting.size:
        return 0.0
    between = min(height * fitting.width, MOST_BETWEEN)
    passes = 2e-9 * width * height + 5e-9 * between + 8e-9 * fitting.height * fitting.width
    return 10e-6 + FILTERS[fitting.resample][1] * passes


def _per_pixel(count: int, small: float, large: float) -> float:
    """Seconds of so many pixels, at nanoseconds each, and of those beyond LARGE."""
    return 1e-9 * (small * count + large * max(0, count - LARGE))


def _png(header: png.PngHeader) -> float:
    count = header.width * header.height
    rows = header.height * (1 + header.row_bytes)
    packed = sum([stop - start for start, stop in header.pixels])
    alpha = bool(header.clear) or header.colour in {4, 6}
    seconds = _per_pixel(count, 7, 7) + 1.5e-9 * rows + 4.5e-9 * min(packed, rows + 1024) + CHUNK * header.chunks
    if header.depth == 16:
        seconds += _per_pixel(count, 3, 3)
    if alpha:
        seconds += _per_pixel(count, 12, 8)
    if header.interlaced:
        seconds *= 1.4
    return seconds + png.MOST_TEXT_BYTES * 2e-9 * sum([1 for each in header.texts.values() if each[:4] != b"tEXt"])


def _webp(length: int, header: webp.WebpHeader) -> float:
    count = header.width * header.height
    seconds = _per_pixel(count, 8, 10) + (6.5e-9 if header.lossless else 55e-9) * length
    return seconds + (_per_pixel(count, 12, 12) if header.alpha else 0.0)


def _jpeg(encoded: bytes, header: jpeg.JpegHeader, decoded: int) -> float:
    """`decoded`: pixels after the reduction."""
    samples = header.samples * header.width * header.height
    length = len(encoded) - header.scan
    arithmetic = header.frame in jpeg.ARITHMETIC
    seconds = SEGMENT * header.segments + 1e-9 * header.scan
    if header.buffered:
        scans = jpeg.count_scans(encoded, header, SCANS_SOUGHT)
        scans = min(scans * max(1, length // SCANS_SOUGHT), max(scans, 12), jpeg.MOST_SCANS)
        seconds += 0.4e-9 * samples * scans + 35e-9 * length * (3 if arithmetic else 1)
    else:
        seconds += 0.3e-9 * samples + 11e-9 * length * (8 if arithmetic else 1)
    seconds += _per_pixel(decoded, 6 if header.frame not in jpeg.LOSSLESS else 20, 8) * max(1.0, header.samples / 2)
    return seconds if encoded.rfind(jpeg.END, -(2**12)) >= 0 else 2 * seconds  # without its end it is decoded twice


@cache
def machine_factor() -> float:
    """How many times as long as where the figures are of decoding takes here; measured once, in a few milliseconds."""
    return min(10.0, max(0.2, _measured() / _REFERENCE))


def _measured() -> float:
    """Seconds to decode a picture of noise, at best."""
    rows = b"".join(b"\0" + (number * 2654435761).to_bytes(8, "big") * (3 * _SIDE // 8) for number in range(1, _SIDE + 1))
    header = png.PngHeader(_SIDE, _SIDE, 8, 2, interlaced=False)
    packed = zlib.compress(rows, 1)
    header.pixels.append((0, len(packed)))
    best = 1.0
    for _ in range(5):
        began = time.perf_counter()
        pixels.to_rgb(png.decode(packed, header)).resize((_SIDE // 2, _SIDE // 2))
        best = min(best, time.perf_counter() - began)
    return best


def price_of(encoded: bytes, fitting: Fitting, max_pixels: int) -> float:
    """The same of any bytes: what is refused by its header costs as good as nothing."""
    try:
        header = pixels.read_header(encoded)
        pixels.check_size(header, max_pixels)
    except ImageError:
        return BASE
    return price(encoded, header, fitting)
