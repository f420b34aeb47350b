import asyncio
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import ImageError
from holdfast.model.preprocess import InputContract
from holdfast.server.core.decoding import Decoder, RawImage, raw_pixels
from tests.server.tiny import png

CONTRACT = InputContract(height=8, width=8)


def flat(side: int, kind: str = "PNG") -> bytes:
    return png(np.full((side, side, 3), 99, dtype=np.uint8), kind)


@given(shape=st.lists(st.integers(-2, 6), max_size=5), length=st.integers(0, 300), dtype=st.sampled_from(["uint8", "x"]))
def test_raw_pixels_are_an_array_or_an_image_error(shape: list[int], length: int, dtype: str) -> None:
    raw = RawImage(bytes(length), tuple(shape), dtype)
    try:
        pixels = raw_pixels(raw, max_pixels=20)
    except ImageError as error:
        assert error.field in {"raw.dtype", "raw.shape", "raw.data"}
    else:
        assert pixels.shape == tuple(shape)
        assert pixels.size == length
        assert shape[0] * shape[1] <= 20


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF"]))
def test_any_bytes_can_be_placed_and_refused(tail: bytes, head: bytes) -> None:
    decoder = Decoder(CONTRACT, max_pixels=10_000, threads=1)
    assert 0 < decoder.price(head + tail) < 1
    with pytest.raises(ImageError):
        decoder.decode_here(head + tail)
    decoder.close()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_price_follows_the_size(kind: str) -> None:
    decoder = Decoder(CONTRACT, max_pixels=2**24, threads=1)
    prices = [decoder.price(flat(side, kind)) for side in (16, 128, 1024, 4096)]
    raw = decoder.price(RawImage(bytes(3 * 512 * 512), (512, 512, 3), "uint8"))
    decoder.close()
    assert prices == sorted(prices)
    assert prices[-1] > 5 * prices[1]
    assert raw > decoder.price(RawImage(bytes(192), (8, 8, 3), "uint8"))
    assert decoder.price(None) < 1e-3


async def test_large_images_leave_the_event_loop_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Decoder(CONTRACT, max_pixels=10**7, threads=1)
    here, places = decoder.decode_here, []

    def noted(source: bytes) -> object:
        places.append(threading.current_thread() is threading.main_thread())
        return here(source)

    monkeypatch.setattr(decoder, "decode_here", noted)
    small, large = await asyncio.gather(decoder.decode(flat(16)), decoder.decode(flat(1000)))
    decoder.close()
    assert places == [True, False]
    np.testing.assert_array_equal(small, large)
