"""The pictures of sound are those of the written formula, whatever rate the recording came at."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.model.speech.pictures import log_mel, pictures, resample, windows_of
from holdfast.model.speech.recordings import decode_recording, price, windows
from holdfast.model.speech.wav import read_header
from tests.holdfast.model.speech.sounds import as_wav, voice


def mel_of_the_formula(samples: np.ndarray, mel: int, frame: int) -> float:
    """One value as the module's docstring says it, summed term by term: a discrete Fourier transform, no fast one."""
    bounds = [2595 * math.log10(1 + hertz / 700) for hertz in (60.0, 4_000.0)]
    low, peak, high = (700 * (10 ** ((bounds[0] + (bounds[1] - bounds[0]) * (mel + i) / 65) / 2595) - 1) for i in range(3))
    windowed = [float(samples[frame * 128 + n]) * (0.5 - 0.5 * math.cos(2 * math.pi * n / 200)) for n in range(200)]
    total = 0.0
    for point in range(257):
        hertz = point * 8_000 / 512
        weight = min((hertz - low) / (peak - low), (high - hertz) / (high - peak))
        if weight > 0:
            angles = [-2 * math.pi * point * n / 512 for n in range(200)]
            real = sum(value * math.cos(angle) for value, angle in zip(windowed, angles, strict=True))
            imaginary = sum(value * math.sin(angle) for value, angle in zip(windowed, angles, strict=True))
            total += weight * (real**2 + imaginary**2)
    return math.log(total + 1e-6)


@pytest.mark.parametrize(("mel", "frame"), [(0, 0), (1, 7), (20, 3), (41, 30), (62, 12), (63, 63)])
def test_log_mels_are_those_of_the_formula(mel: int, frame: int) -> None:
    samples = voice(1.2)
    assert log_mel(samples)[mel, frame] == pytest.approx(mel_of_the_formula(samples, mel, frame), abs=2e-4)


def test_a_picture_is_standardised_by_mel_clipped_and_grey() -> None:
    samples = voice(2.5, seed=3)
    mels = log_mel(samples)[:, :64].astype(np.float64)
    standard = (mels - mels.mean(1, keepdims=True)) / mels.std(1, keepdims=True)
    expected = np.rint((np.clip(standard, -4, 4) + 4) * 255 / 8)
    picture = pictures(samples)[0].astype(int)
    assert np.abs(picture[:, :, 0] - expected).max() <= 1
    assert (picture == picture[:, :, :1]).all()


def test_the_golden_picture() -> None:
    picture = pictures(voice(1.1, seed=11))[0, :, :, 0].astype(int)
    assert np.abs(picture[::16, ::16] - GOLDEN).max() <= 1


GOLDEN = np.array([[143, 118, 95, 63], [140, 119, 84, 81], [139, 136, 30, 86], [87, 83, 103, 133]])


def test_louder_is_the_same_picture() -> None:
    samples = 0.05 * voice(1.2)
    louder = np.abs(pictures(samples).astype(int) - pictures(8 * samples).astype(int))
    assert np.quantile(louder, 0.99) <= 2  # but for the floor below the logarithm


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 12_345])
def test_a_tone_keeps_its_pitch_at_every_rate(rate: int) -> None:
    tone = np.sin(2 * np.pi * 1_000 * np.arange(rate) / rate).astype(np.float32)
    at_8000 = resample(tone, rate)
    assert len(at_8000) == 8_000
    expected = np.sin(2 * np.pi * 1_000 * np.arange(8_000) / 8_000)
    np.testing.assert_allclose(at_8000[200:-200], expected[200:-200], atol=0.02)


def test_what_is_above_four_kilohertz_is_gone() -> None:
    tone = np.sin(2 * np.pi * 9_000 * np.arange(48_000) / 48_000).astype(np.float32)
    assert np.abs(resample(tone, 48_000)[200:-200]).max() < 0.02


def test_a_short_recording_is_repeated_and_a_long_one_cut_to_its_end() -> None:
    short = voice(0.3)
    np.testing.assert_array_equal(pictures(short), pictures(np.resize(short, 8_264)))
    long = voice(5.0)
    cut = pictures(long)
    assert len(cut) == 5
    np.testing.assert_array_equal(cut[0], pictures(long[:8_264])[0])
    frames = 1 + (len(long) - 200) // 128
    np.testing.assert_array_equal(cut[-1], pictures(long[(frames - 64) * 128 :][:8_264])[0])


@given(st.integers(800, 20_000), st.integers(8_000, 48_000))
def test_the_number_of_windows_and_a_price_are_known_by_the_header(samples: int, rate: int) -> None:
    encoded = as_wav(voice(samples / 8_000, rate), rate)
    header = read_header(encoded)
    assert windows(header) == len(decode_recording(encoded))
    assert 0 < price(header) < 0.05
    assert windows_of(8_264) == 1
