"""WAV files of every coding that is taken say what the standard library says; all others are refused, no more happens."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import ImageError
from holdfast.model.speech import wav
from holdfast.model.speech.recordings import decode_recording, pieces, windows
from tests.holdfast.model.speech.sounds import as_wav, voice


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_depth_and_both_numbers_of_channels_are_read(bits: int, channels: int) -> None:
    samples = voice(0.2, 16_000)
    encoded = as_wav(samples, 16_000, bits=bits, channels=channels)
    header = wav.read_header(encoded)
    assert (header.rate, header.channels, header.bits, header.frames) == (16_000, channels, bits, len(samples))
    np.testing.assert_allclose(wav.read_samples(encoded, header), samples, atol=1.01 / 2 ** (bits - 1) + 1e-7)


def test_channels_are_mixed() -> None:
    stereo = np.array([[0.5, -0.25], [0.25, 0.25]], np.float32)
    encoded = bytearray(as_wav(stereo.ravel(), 8_000))
    encoded[22:24], encoded[32:34] = struct.pack("<H", 2), struct.pack("<H", 4)
    np.testing.assert_allclose(wav.read_samples(bytes(encoded), wav.read_header(bytes(encoded))), [0.125, 0.25])


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=50), st.integers(8_000, 48_000))
def test_what_is_written_is_read_again(values: list[int], rate: int) -> None:
    samples = np.array(values, np.float32) / 32768
    encoded = wav.write_wav(samples, rate)
    assert encoded == as_wav(samples, rate)
    header = wav.read_header(encoded)
    assert header.rate == rate
    np.testing.assert_array_equal(wav.read_samples(encoded, header), samples)


def test_other_chunks_and_the_extensible_form_are_passed_over() -> None:
    plain = as_wav(voice(0.2))
    coding = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 8_000, 16_000, 2, 16, 22, 16, 4) + bytes.fromhex(
        "0100000000001000800000aa00389b71"
    )
    chunks = b"LIST" + struct.pack("<I", 3) + b"abc\0" + b"fmt " + struct.pack("<I", len(coding)) + coding + plain[36:]
    extensible = b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
    assert wav.read_header(extensible)[:3] == wav.read_header(plain)[:3]
    np.testing.assert_array_equal(decode_recording(extensible), decode_recording(plain))


def patched(at: int, form: str, value: int) -> bytes:
    encoded = bytearray(as_wav(voice(0.2)))
    encoded[at : at + struct.calcsize(form)] = struct.pack(form, value)
    return bytes(encoded)


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (b"", "no WAV"),
        (b"ID3\4" + bytes(100), "no WAV"),
        (as_wav(voice(0.2), 96_000), "96000 samples a second"),
        (as_wav(voice(0.2), 7_999), "7999 samples a second"),
        (as_wav(voice(0.2), channels=3), "3 channels"),
        (as_wav(voice(0)), "no sample"),
        (as_wav(voice(0.2))[:30], "cut short"),
        (as_wav(voice(0.2))[:-1], "cut short"),
        (patched(20, "<H", 3), "floats"),
        (patched(40, "<I", 0xFFFFFFFF), "cut short"),
        (patched(34, "<H", 12), "12 bits"),
        (patched(32, "<H", 0), "blocks of 0"),
        (b"RIFX" + as_wav(voice(0.2))[4:], "RIFX"),
        (b"RIFF\0\0\0\0WAVE" + 100 * (b"junk" + bytes(4)), "chunks"),
        (b"RIFF\0\0\0\0WAVEdata\4\0\0\0abcd", "format"),
        (as_wav(voice(0.05)), "0.1 s is the least"),
        (as_wav(np.zeros(8_000, np.float32)), "silent"),
        (as_wav(voice(30.1)), "30.1 s long; the limit is 30 s"),
    ],
)
def test_what_is_no_such_recording_is_refused_with_one_reason(encoded: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as refused:
        decode_recording(encoded)
    assert refused.value.field == "audio"


def test_an_hour_is_refused_by_its_header_alone() -> None:
    header = bytearray(as_wav(voice(0.2))[:44])
    header[40:44] = struct.pack("<I", 3600 * 16_000)
    with pytest.raises(ImageError, match=r"3600\.0 s long"):
        decode_recording(bytes(header) + bytes(3600 * 16_000))


@given(st.data())
def test_no_damage_leads_to_anything_but_an_answer_or_a_refusal(data: st.DataObject) -> None:
    encoded = bytearray(as_wav(voice(0.15), bits=data.draw(st.sampled_from([8, 16, 24, 32]))))
    for _ in range(data.draw(st.integers(1, 6))):
        encoded[data.draw(st.integers(0, 60))] = data.draw(st.integers(0, 255))
    damaged = bytes(encoded[: data.draw(st.integers(0, len(encoded)))])
    try:
        pictures = decode_recording(damaged, max_seconds=2.0)
    except ImageError as refused:
        assert refused.field == "audio"
    else:
        assert pictures.dtype == np.uint8
        assert pictures.shape[1:] == (64, 64, 3)


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_refused(encoded: bytes) -> None:
    with pytest.raises(ImageError):
        decode_recording(b"RIFF\0\0\0\0WAVE" + encoded)


@given(st.integers(800, 40_000), st.sampled_from([8_000, 16_000, 44_100]), st.sampled_from([8, 24]), st.sampled_from([1, 2]))
def test_pieces_are_of_one_window_each_and_together_the_whole(frames: int, rate: int, bits: int, channels: int) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, frames).astype(np.float32)
    encoded = as_wav(samples, rate, bits=bits, channels=channels)
    header = wav.read_header(encoded)
    parts = pieces(header)
    assert sorted({frame for start, stop in parts for frame in range(start, stop)}) == list(range(frames))
    for start, stop in parts:
        piece = wav.cut_wav(encoded, header, start, stop)
        assert windows(wav.read_header(piece)) == 1
        np.testing.assert_array_equal(
            wav.read_samples(piece, wav.read_header(piece)), wav.read_samples(encoded, header)[start:stop]
        )
