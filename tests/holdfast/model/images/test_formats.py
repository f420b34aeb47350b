"""Pixels are those of Pillow's own readers, and of all metadata only the orientation is heeded."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin

from bench.hostile import images as hostile
from bench.hostile.seeds import XMP, generated
from holdfast.errors import ImageError
from holdfast.model.images import jpeg, pixels, png
from holdfast.model.preprocess import InputContract, decode_image, fit

CONTRACT = InputContract(height=32, width=32)


def as_pillow_reads(encoded: bytes) -> np.ndarray:
    """uint8 [h, w, 3], upright, on white."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
    if image.mode.startswith("I"):
        return np.repeat((np.asarray(image) // 257).astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.asarray(image.convert("RGB"))


def readable() -> list[bytes]:
    kept = []
    for encoded in generated():
        try:
            as_pillow_reads(encoded)
        except Exception:  # noqa: BLE001, S112 - it raises many kinds, and such files are not what is asked for here
            continue
        kept.append(encoded)
    return kept


READABLE = readable()


@pytest.mark.parametrize("number", range(len(READABLE)))
def test_every_kind_of_image_has_the_pixels_that_pillow_reads(number: int) -> None:
    encoded = READABLE[number]
    expected = as_pillow_reads(encoded)
    try:
        found = decode_image(encoded, InputContract(height=expected.shape[0], width=expected.shape[1]))
    except ImageError as refused:
        assert "more than" in refused.reason  # chunks, segments or scans
    else:
        np.testing.assert_array_equal(found, expected)


MODES = st.sampled_from(["1", "L", "P", "RGB", "RGBA", "LA"])


@given(MODES, st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32), st.booleans())
def test_a_png_of_any_mode_and_shape_comes_back(mode: str, width: int, height: int, seed: int, optimise: bool) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    image = Image.fromarray(noise).convert("RGB" if mode == "P" else mode)
    file = io.BytesIO()
    (image.quantize(16) if mode == "P" else image).save(file, "PNG", optimize=optimise)
    found = decode_image(file.getvalue(), InputContract(height=height, width=width))
    np.testing.assert_array_equal(found, as_pillow_reads(file.getvalue()))


def outcome(decode: Callable[[], object]) -> np.ndarray | str:
    """Pixels, or why there are none."""
    try:
        return np.asarray(decode())
    except (OSError, ValueError) as error:
        return str(error)


@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.booleans(), st.integers(0, 2**32), st.integers(-2, 2), st.data())
def test_plain_pictures_are_decoded_as_pillow_s_front_decodes_them(
    size: tuple[int, int], interlaced: bool, seed: int, more: int, data: st.DataObject
) -> None:
    """Whole, cut off and damaged ones, in one chunk or two: the same pixels, or the same fault."""
    (width, height), rng = size, np.random.default_rng(seed)
    rows = rng.integers(0, 256, (height, 1 + 3 * width), dtype=np.uint8)
    rows[:, 0] = rng.integers(0, 5, height)  # filters
    packed = bytearray(zlib.compress(rows.tobytes()[: rows.size + more] + bytes(max(0, more))))
    if data.draw(st.booleans()):
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    header = png.PngHeader(width, height, 8, 2, interlaced)
    cut, stop = data.draw(st.integers(0, len(packed))), data.draw(st.sampled_from([len(packed), len(packed) // 2]))
    header.pixels = [(0, min(cut, stop)), (min(cut, stop), stop)]
    assert header.is_plain
    expected = outcome(lambda: png.decode(bytes(packed), header))
    found = outcome(lambda: png.decode_plain(bytes(packed), header))
    if isinstance(expected, str) or isinstance(found, str):
        assert found == expected
    else:
        np.testing.assert_array_equal(found, expected)


def turned(kind: str) -> bytes:
    """A picture that is to be turned, and says so in one place."""
    file, picture = io.BytesIO(), Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    info = PngImagePlugin.PngInfo()
    if kind == "xmp of a JPEG":
        picture.save(file, "JPEG", xmp=XMP)
    elif kind == "xmp of a WebP":
        picture.save(file, "WEBP", lossless=True, xmp=XMP)
    elif kind.startswith("xmp of a PNG"):
        info.add_itxt("XML:com.adobe.xmp", XMP, zip=kind.endswith("packed"))
    elif kind == "a text of a PNG":
        digits = exif.tobytes().hex()
        info.add_text("Raw profile type exif", f"\nexif\n{len(digits) // 2:8}\n{digits}\n", zip=True)
    if not file.getvalue():
        picture.save(file, "PNG", pnginfo=info)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["xmp of a JPEG", "xmp of a WebP", "xmp of a PNG", "xmp of a PNG, packed", "a text of a PNG"])
def test_the_orientation_is_found_wherever_it_is_written(kind: str) -> None:
    encoded = turned(kind)
    expected = as_pillow_reads(encoded)
    assert expected.shape == (14, 9, 3)
    np.testing.assert_array_equal(decode_image(encoded, InputContract(height=14, width=9)), expected)


def test_exif_behind_the_pixels_of_a_png_is_heeded_and_what_is_cut_off_there_costs_nothing() -> None:
    plain = hostile.saved(np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8), "PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    end = plain.rindex(b"IEND") - 4
    behind = plain[:end] + hostile.chunk(b"eXIf", exif.tobytes()[6:]) + plain[end:]
    contract = InputContract(height=14, width=9)
    np.testing.assert_array_equal(decode_image(behind, contract), as_pillow_reads(behind))
    np.testing.assert_array_equal(decode_image(behind[:-3], contract), as_pillow_reads(behind))


@pytest.mark.parametrize("wrong", [b"PLTE", b"tRNS", b"IHDR"])
def test_a_wrong_checksum_of_what_pixels_depend_on_is_refused(wrong: bytes) -> None:
    encoded = bytearray(hostile.flat_png(8, 8, colour=3, extra=hostile.chunk(b"tRNS", bytes(9))))
    encoded[encoded.index(wrong) + 6] ^= 1
    with pytest.raises(ImageError, match="checksum"):
        decode_image(bytes(encoded), CONTRACT)


def test_a_long_animation_is_its_first_frame_and_very_many_chunks_before_pixels_are_refused() -> None:
    assert decode_image(hostile.MAKERS["png-frames"](3000), CONTRACT).shape == (32, 32, 3)
    allowed = hostile.flat_png(8, 8, extra=hostile.chunk(b"teSt", b"") * 900)
    assert decode_image(allowed, CONTRACT).shape == (32, 32, 3)
    with pytest.raises(ImageError, match="chunks"):
        decode_image(hostile.flat_png(8, 8, extra=hostile.chunk(b"teSt", b"") * 2000), CONTRACT)


def test_bytes_between_the_segments_of_a_jpeg_are_passed_over_and_hide_nothing() -> None:
    whole = hostile.many_scans(64, 500)
    frame = whole.index(b"\xff\xc2")
    with pytest.raises(ImageError, match="scans"):
        decode_image(whole[:frame] + b"junk" + whole[frame:], CONTRACT)
    honest = hostile.flat_jpeg(40, 40)
    scan = honest.index(b"\xff\xda")
    odd = honest[:scan] + b"junk" + 9 * b"\xff" + honest[scan:]
    np.testing.assert_array_equal(decode_image(odd, CONTRACT), decode_image(honest, CONTRACT))


def test_segments_and_fill_bytes_of_a_jpeg_are_taken_up_to_a_limit() -> None:
    for kind, few, many in (("empty comments", 800, 4000), ("fill bytes", 50_000, 10**6), ("exif", 2000, 16_000)):
        assert decode_image(hostile.padded_jpeg(kind, few), CONTRACT).shape == (32, 32, 3), kind
        with pytest.raises(ImageError, match="segments"):
            decode_image(hostile.padded_jpeg(kind, many), CONTRACT)


def test_exif_in_very_many_segments_is_kept_in_part() -> None:
    segment = b"\xff\xe1\xff\xffExif\0\0" + bytes(65_527)
    encoded = hostile.flat_jpeg(32, 32)
    header = pixels.read_header(encoded[:2] + 100 * segment + encoded[2:])
    assert isinstance(header, jpeg.JpegHeader)
    assert len(header.exif) < 4 * jpeg.MOST_EXIF_BYTES


def test_a_packed_text_unpacks_to_a_megabyte_at_most() -> None:
    packed = hostile.chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(2**24)))
    header = pixels.read_header(hostile.flat_png(8, 8, extra=packed))
    assert isinstance(header, png.PngHeader)
    assert len(png.written_beside(header)[1]) == png.MOST_TEXT_BYTES


@given(st.binary(max_size=60), st.sampled_from([b"II*\0", b"MM\0*"]), st.integers(0, 70))
def test_no_exif_breaks_an_image(directory: bytes, order: bytes, start: int) -> None:
    exif = order + struct.pack("<I" if order[0] == 0x49 else ">I", start) + directory
    plain = hostile.flat_png(8, 8)
    assert decode_image(plain[:33] + hostile.chunk(b"eXIf", exif) + plain[33:], CONTRACT).shape == (32, 32, 3)


def test_an_image_that_is_much_taller_than_wide_is_resized_in_little_memory() -> None:
    tall = np.zeros((65_000, 3, 3), dtype=np.uint8)
    tall[: 65_000 // 2] = 200
    fitted = fit(tall, InputContract(height=16, width=4096))
    assert fitted[0].min() == 200
    assert fitted[-1].max() == 0
