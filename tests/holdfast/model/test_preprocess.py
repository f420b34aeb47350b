import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from holdfast.errors import ImageError
from holdfast.model.preprocess import InputContract, decode_image, fit

CONTRACT = InputContract(height=32, width=32)


def encode(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def test_png_and_lossless_webp_come_back_exactly() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode_image(encode(pixels), CONTRACT), pixels)
    np.testing.assert_array_equal(decode_image(encode(pixels, "WEBP", lossless=True), CONTRACT), pixels)


def test_grey_alpha_sixteen_bit_and_cmyk_become_rgb() -> None:
    grey = np.full((32, 32), 100, dtype=np.uint8)
    assert (decode_image(encode(grey), CONTRACT) == 100).all()
    clear = np.zeros((32, 32, 4), dtype=np.uint8)
    assert (decode_image(encode(clear), CONTRACT) == 255).all()  # laid on white
    deep = np.full((32, 32), 100 * 257, dtype=np.uint16)
    assert (decode_image(encode(deep), CONTRACT) == 100).all()
    file = io.BytesIO()
    Image.new("CMYK", (32, 32)).save(file, "JPEG")
    assert (decode_image(file.getvalue(), CONTRACT) == 255).all()


def test_exif_orientation_is_applied() -> None:
    pixels = np.zeros((32, 32, 3), dtype=np.uint8)
    pixels[:16] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned = decode_image(encode(pixels, "JPEG", exif=exif, quality=95), CONTRACT)
    assert turned[0].mean() < 20
    assert turned[-1].mean() > 235


@pytest.mark.parametrize("side", [5_000, 10_000, 50_000])
def test_a_bomb_is_refused_by_its_header(side: int) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    with pytest.raises(ImageError, match="pixels.*limit"):
        decode_image(bomb, CONTRACT)


def test_the_limit_is_the_callers() -> None:
    with pytest.raises(ImageError, match="limit is 1023"):
        decode_image(encode(np.zeros((32, 32, 3), dtype=np.uint8)), CONTRACT, max_pixels=1023)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_image_error(data: bytes) -> None:
    with pytest.raises(ImageError):
        decode_image(data, CONTRACT)


@given(st.data())
def test_damaged_images_decode_or_are_refused(data) -> None:
    whole = bytearray(
        encode(np.arange(48, dtype=np.uint8).reshape(4, 4, 3), data.draw(st.sampled_from(["PNG", "JPEG", "WEBP"])))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(1, len(whole)))])
    try:
        assert decode_image(cut, CONTRACT).shape == (32, 32, 3)
    except ImageError as error:
        assert error.field == "encoded"


def test_truncated_images_are_refused() -> None:
    whole = encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    with pytest.raises(ImageError, match="cannot be decoded"):
        decode_image(whole[: len(whole) // 2], CONTRACT)


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (1, 1, 3), (40, 20, 1), (32, 32), (32, 32, 3)])
def test_every_fair_shape_is_fitted(shape: tuple[int, ...]) -> None:
    fitted = fit(np.full(shape, 9, dtype=np.uint8), CONTRACT)
    assert fitted.shape == (32, 32, 3)
    assert (fitted == 9).all()


@pytest.mark.parametrize(
    ("image", "field"),
    [
        (np.zeros((0, 4), dtype=np.uint8), "shape"),
        (np.zeros((4, 4, 4), dtype=np.uint8), "shape"),
        (np.zeros(4, dtype=np.uint8), "shape"),
        (np.zeros((4, 4)), "dtype"),
    ],
)
def test_what_fit_refuses(image: np.ndarray, field: str) -> None:
    with pytest.raises(ImageError) as refusal:
        fit(image, CONTRACT)
    assert refusal.value.field == field


def test_odd_images_decode_or_are_refused_with_a_reason(shared_data: Path) -> None:
    decoded = refused = 0
    for path in sorted((shared_data / "odd-images").rglob("*.*")):
        try:
            assert decode_image(path.read_bytes(), CONTRACT).shape == (32, 32, 3)
            decoded += 1
        except ImageError as error:
            assert error.reason
            refused += 1
    assert decoded > 50
    assert refused > 50
