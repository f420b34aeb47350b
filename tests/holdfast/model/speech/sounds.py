"""Recordings for tests: voices that are tones with harmonics, in any coding of WAV."""

import io
import wave

import numpy as np
from numpy.typing import NDArray


def voice(seconds: float, rate: int = 8_000, *, pitch: float = 140.0, seed: int = 0) -> NDArray[np.float32]:
    """A tone with harmonics that swells and fades, and a little noise: float32 [n] in [-1, 1]."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    harmonics = sum(np.sin(2 * np.pi * pitch * h * time + random.uniform(0, 6)) / h for h in range(1, 12))
    swelling = 0.55 + 0.45 * np.sin(2 * np.pi * random.uniform(2, 5) * time)
    return (0.15 * harmonics * swelling + 0.01 * random.normal(size=len(time))).astype(np.float32)


def as_wav(samples: NDArray[np.float32], rate: int = 8_000, *, bits: int = 16, channels: int = 1) -> bytes:
    """The standard library's file of them."""
    whole = np.clip(np.rint(np.asarray(samples, np.float64) * 2 ** (bits - 1)), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    values = np.repeat(whole.astype(np.int64), channels)
    if bits == 8:
        data = (values + 128).astype(np.uint8).tobytes()
    else:
        data = values.astype("<i8").view(np.uint8).reshape(-1, 8)[:, : bits // 8].tobytes()
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(bits // 8)
        out.setframerate(rate)
        out.writeframes(data)
    return file.getvalue()
