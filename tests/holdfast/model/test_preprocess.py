import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

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


def photograph(width: int, height: int) -> np.ndarray:
    """Something with detail everywhere, of which a JPEG has few flat blocks."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).integers(0, 40, (height, width, 3))
    waves = 100 + 60 * np.sin(x / 9)[..., None] + 50 * np.cos((x + 2 * y) / 23)[..., None] * np.array([1, 0.5, -1])
    return np.clip(waves + noise, 0, 255).astype(np.uint8)


JPEGS = {
    "baseline": encode(photograph(90, 70), "JPEG", quality=80),
    "finest": encode(photograph(90, 70), "JPEG", quality=100, subsampling=0),
    "progressive": encode(photograph(90, 70), "JPEG", progressive=True),
    "with restarts": encode(photograph(90, 70), "JPEG", restart_marker_blocks=3),
    "grey": encode(photograph(90, 70)[..., 0], "JPEG"),
}


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_without_its_end_marker_is_whole(kind: str) -> None:
    whole = JPEGS[kind]
    assert whole.endswith(b"\xff\xd9")
    for cut in (1, 2):
        np.testing.assert_array_equal(decode_image(whole[:-cut], CONTRACT), decode_image(whole, CONTRACT))
    np.testing.assert_array_equal(decode_image(whole[:-2] + bytes(50), CONTRACT), decode_image(whole, CONTRACT))


@pytest.mark.parametrize("kind", JPEGS)
@given(st.data())
def test_a_jpeg_that_lacks_part_of_its_picture_is_refused(kind: str, data: st.DataObject) -> None:
    whole = JPEGS[kind]
    cut = data.draw(st.integers(3, len(whole)))
    with pytest.raises(ImageError, match="encoded"):
        decode_image(whole[:-cut], InputContract(height=70, width=90))


def test_a_camera_s_pixels_are_taken_as_jpeg_and_bombs_are_not() -> None:
    camera = encode(np.full((4000, 6000, 3), 90, dtype=np.uint8), "JPEG", quality=30)
    assert abs(int(decode_image(camera, CONTRACT).mean()) - 90) < 2
    with pytest.raises(ImageError, match="6000x4000 pixels; the limit"):
        decode_image(camera, CONTRACT, max_pixels=5_999_999)
    progressive = encode(np.full((1000, 1000, 3), 90, dtype=np.uint8), "JPEG", progressive=True)
    assert decode_image(progressive, CONTRACT, max_pixels=500_000).shape == (32, 32, 3)
    with pytest.raises(ImageError, match="1000x1000 pixels; the limit"):
        decode_image(progressive, CONTRACT, max_pixels=499_999)
    huge = bytearray(camera)
    frame = huge.index(b"\xff\xc0")
    huge[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    with pytest.raises(ImageError, match="65000x65000 pixels; the limit"):
        decode_image(bytes(huge), CONTRACT)


def test_a_large_encoder_sees_a_large_jpeg_at_half_its_size() -> None:
    detailed = encode(photograph(640, 480), "JPEG", quality=95)
    contract = InputContract(height=480, width=640)
    whole = decode_image(detailed, contract).astype(int)
    halved = decode_image(detailed, contract, max_pixels=640 * 480 // 4).astype(int)
    assert 0 < np.abs(whole - halved).mean() < 20


def test_a_jpeg_in_very_many_scans_is_refused() -> None:
    whole = encode(photograph(64, 64), "JPEG", progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    assert decode_image(whole[:-2] + 3 * last + whole[-2:], CONTRACT).shape == (32, 32, 3)
    with pytest.raises(ImageError, match="scans"):
        decode_image(whole[:-2] + 500 * last + whole[-2:], CONTRACT)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(depth: int, colours: int, row: bytes, *chunks: bytes, width: int = 2) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, colours, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("depth", "row", "level"), [(2, b"\x10", 1), (4, b"\x05", 5), (8, b"\0\x09", 9)])
def test_a_transparent_grey_is_laid_on_white_at_every_depth(depth: int, row: bytes, level: int) -> None:
    clear = chunk(b"tRNS", struct.pack(">H", level))
    pixels = decode_image(png(depth, 0, row, clear), InputContract(height=1, width=2))
    assert pixels[0].tolist() == [[0, 0, 0], [255, 255, 255]]


def test_transparency_of_sixteen_bits_is_laid_on_white() -> None:
    contract = InputContract(height=1, width=2)
    clear = chunk(b"tRNS", struct.pack(">H", 0x8001))  # of two greys that are one at 8 bits
    pixels = decode_image(png(16, 0, struct.pack(">HH", 0x8001, 0x8002), clear), contract)
    assert pixels[0].tolist() == [[255, 255, 255], [127, 127, 127]]
    pixels = decode_image(png(16, 4, struct.pack(">HHHH", 0x8000, 0, 0x8000, 0xFFFF)), contract)
    assert pixels[0].tolist() == [[255, 255, 255], [128, 128, 128]]
    clear = chunk(b"tRNS", struct.pack(">HHH", 0x1234, 0x100, 0x200))
    pixels = decode_image(png(16, 2, struct.pack(">6H", 0x1234, 0x100, 0x200, 0x2234, 0x100, 0x200), clear), contract)
    assert pixels[0].tolist() == [[255, 255, 255], [0x22, 1, 2]]


def with_exif(orientation: int, *, kind: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "a camera's maker, whose name does not fit in four bytes"
    exif[0x011A] = 72.0
    return encode(photograph(40, 24), kind, exif=exif)


@pytest.mark.parametrize("orientation", range(9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_applied_as_pillow_does(orientation: int, kind: str) -> None:
    encoded = with_exif(orientation, kind=kind)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))).convert("RGB"))
    contract = InputContract(height=upright.shape[0], width=upright.shape[1])
    np.testing.assert_array_equal(decode_image(encoded, contract), upright)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=12))
def test_broken_exif_never_costs_the_image(changes: list[tuple[int, int]]) -> None:
    encoded = bytearray(with_exif(1))
    start = encoded.index(b"Exif\0\0") + 6
    length = int.from_bytes(encoded[start - 8 : start - 6]) - 8
    for place, value in changes:
        encoded[start + place % length] = value
    assert decode_image(bytes(encoded), CONTRACT).shape == (32, 32, 3)


@pytest.mark.parametrize(
    "odd", [chunk(b"iCCP", b"\xa5\x89\x19>"), chunk(b"pHYs", b"\0"), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**21)))]
)
def test_broken_metadata_of_a_png_never_costs_the_image(odd: bytes) -> None:
    contract = InputContract(height=1, width=2)
    assert decode_image(png(8, 0, b"\x07\x09", odd), contract)[0, :, 0].tolist() == [7, 9]


def test_hostile_images_decode_without_their_metadata(shared_data: Path) -> None:
    files = [path for path in (shared_data / "hostile-images").iterdir() if path.suffix in {".bin", ".jpg"}]
    assert len(files) >= 9
    for path in files:
        assert decode_image(path.read_bytes(), CONTRACT).shape == (32, 32, 3), path.name


def test_odd_photographs_of_folders_decode(shared_data: Path) -> None:
    folders = shared_data / "odd-folders"
    for path in [folders / "jpeg-without-end-marker.jpg", *(folders / "folder-rotated-odd-exif" / "red").iterdir()]:
        assert decode_image(path.read_bytes(), CONTRACT).shape == (32, 32, 3), path.name


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


resamples = st.sampled_from(["bilinear", "bicubic", "lanczos"])


@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    wanted=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    more=st.integers(0, 9),
    resample=resamples,
    seed=st.integers(0, 99),
)
def test_a_crop_is_what_resizing_all_and_cropping_the_middle_gives(*, size, wanted, more, resample, seed) -> None:
    """As other libraries do it: resize the shorter side, then cut. Coefficients are rounded, so a level may differ.

    Pillow does its two passes in the order that costs less, and clips between them; pixels are such that nothing is clipped.
    """
    shortest = max(wanted) + more
    pixels = np.random.default_rng(seed).integers(96, 160, (*size, 3), dtype=np.uint8)
    found = fit(pixels, InputContract(height=wanted[0], width=wanted[1], resample=resample, shortest=shortest))
    if size == wanted:
        expected = pixels
    else:
        rows, columns = (int(shortest * side / min(size)) for side in size)
        whole = Image.fromarray(pixels).resize((columns, rows), getattr(Image.Resampling, resample.upper()))
        top, left = (rows - wanted[0]) // 2, (columns - wanted[1]) // 2
        expected = np.asarray(whole)[top : top + wanted[0], left : left + wanted[1]]
    assert np.abs(found.astype(int) - expected).max() <= 2


@given(size=st.tuples(st.integers(1, 60), st.integers(1, 60)), resample=resamples, shortest=st.none() | st.integers(16, 40))
def test_what_was_fitted_is_not_changed_again(size, resample, shortest) -> None:
    contract = InputContract(height=16, width=12, resample=resample, shortest=shortest)
    once = fit(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8), contract)
    np.testing.assert_array_equal(fit(once, contract), once)


@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1)])
def test_a_crop_of_a_long_picture_takes_little(shape: tuple[int, int]) -> None:
    fitted = fit(np.full(shape, 7, dtype=np.uint8), InputContract(height=224, width=224, resample="bicubic", shortest=4096))
    assert (fitted == 7).all()


def test_a_crop_is_no_larger_than_the_picture() -> None:
    with pytest.raises(ValueError, match="cannot be cropped"):
        InputContract(height=20, width=30, shortest=29)


def test_a_jpeg_is_decoded_large_enough_for_its_crop() -> None:
    """The middle quarter of a large picture has all its lines still."""
    lines = np.repeat((np.arange(1024) // 4 % 2 * 255).astype(np.uint8)[:, np.newaxis], 1024, axis=1)
    contract = InputContract(height=64, width=64, resample="bicubic", shortest=512)
    fitted = decode_image(encode(lines, "JPEG", quality=95), contract)
    assert fitted.std() > 100
