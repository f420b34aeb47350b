"""Log-mel pictures of sound: uint8 [W, 64, 64, 3], a window of about a second each. One function, for training and requests.

Samples at 8 kHz; frames of 25 ms (200 samples, Hann) every 16 ms, power spectrum of 512 points, 64 triangular filters between
60 and 4,000 Hz evenly spaced on the mel scale 2595 log10(1 + f / 700), log(power + 1e-6). Of each window of 64 frames every mel
is brought to mean 0 and deviation 1 over time, which takes away what a steady channel multiplies it by, clipped to +-4
deviations and spread over 0..255. Row 0 is the lowest mel, column 0 the first frame; grey in three channels.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import ImageError
from holdfast.model.images.pixels import Pixels
from holdfast.model.speech.wav import FIELD

RATE = 8_000
FRAME, HOP, POINTS = 200, 128, 512
MELS, FRAMES = 64, 64
WINDOW = FRAME + (FRAMES - 1) * HOP
"""Samples of one picture: 8,264, which is 1.033 s."""

SHORTEST = 800
"""Samples, 0.1 s: in less there is nothing to know anybody by."""

LOWEST, HIGHEST = 60.0, 4_000.0
FLOOR = 1e-6
CLIP = 4.0
STEADY = 1e-3
"""A mel whose deviation over time is no more than this says nothing: it stays at the mean."""

BLOCK = 1_024
"""Frames transformed at once."""

Samples = NDArray[np.float32]


def resample(samples: Samples, rate: int) -> Samples:
    """float32 [n] at `rate` samples a second -> [ceil(n * 8000 / rate)] at 8 kHz, by a discrete Fourier transform.

    What lies above 4 kHz is cut off. The end is padded with silence to a length that both rates divide.
    """
    if rate == RATE:
        return samples
    shared = np.gcd(rate, RATE)
    step, kept = int(rate // shared), int(RATE // shared)
    blocks = -(-len(samples) // step)
    spectrum = np.fft.rfft(samples, blocks * step)[: blocks * kept // 2 + 1]
    resampled = np.fft.irfft(spectrum, blocks * kept) * (kept / step)
    wanted: Samples = resampled[: -(-len(samples) * kept // step)].astype(np.float32)
    return wanted


class _Filters(NamedTuple):
    """The triangles, as what each point of the spectrum adds to the one it rises in and to the one before, which it falls in.

    points: the range of points that lie in any. rising, falling: float32 [points]. starts: int64 [65], the first point of each
    interval between two edges; none is empty.
    """

    points: slice
    rising: NDArray[np.float32]
    falling: NDArray[np.float32]
    starts: NDArray[np.int64]


@cache
def _filters() -> _Filters:
    edges = _hertz(np.linspace(_mel(LOWEST), _mel(HIGHEST), MELS + 2))
    every = np.linspace(0, RATE / 2, POINTS // 2 + 1)
    first, last = np.searchsorted(every, (edges[0], edges[-1]))
    points = every[first:last]
    interval = np.searchsorted(edges, points, side="right") - 1
    rising = (points - edges[interval]) / (edges[interval + 1] - edges[interval])
    starts = np.searchsorted(interval, np.arange(MELS + 1))
    return _Filters(slice(int(first), int(last)), rising.astype(np.float32), (1 - rising).astype(np.float32), starts)


def _mels(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [n, 257] -> [n, 64]. No matrix product: one so small would wait for the threads of a library."""
    filters = _filters()
    inside = power[:, filters.points]
    rising = np.add.reduceat(inside * filters.rising, filters.starts, axis=1)
    falling = np.add.reduceat(inside * filters.falling, filters.starts, axis=1)
    mels: NDArray[np.float32] = rising[:, :-1] + falling[:, 1:]
    return mels


def _mel(hertz: float) -> float:
    return 2595 * float(np.log10(1 + hertz / 700))


def _hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    hertz: NDArray[np.float64] = 700 * (10 ** (mels / 2595) - 1)
    return hertz


def log_mel(samples: Samples) -> NDArray[np.float32]:
    """float32 [n] at 8 kHz, n >= 200 -> float32 [64, 1 + (n - 200) // 128]."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP]
    window = np.hanning(FRAME + 1)[:-1].astype(np.float32)
    spectra = []
    for start in range(0, len(frames), BLOCK):  # memory follows the block, not the recording
        transformed = np.fft.rfft(frames[start : start + BLOCK] * window, POINTS)
        power = (transformed.real**2 + transformed.imag**2).astype(np.float32)
        spectra.append(_mels(power))
    logarithms: NDArray[np.float32] = np.log(np.concatenate(spectra).T + np.float32(FLOOR))
    return logarithms


def windows_of(samples: int) -> int:
    """Into how many pictures so many samples at 8 kHz go: windows one after the other, the last one up to the end."""
    frames = 1 + (max(samples, WINDOW) - FRAME) // HOP
    return -(-frames // FRAMES)


def pictures(samples: Samples) -> Pixels:
    """Pictures of a recording.

    What is shorter than a window is repeated until it fills one. What is longer is cut into windows, of which the last ends
    where the recording does.

    Args:
        samples: float32 [n] at 8 kHz, in [-1, 1].

    Returns:
        uint8 [windows_of(n), 64, 64, 3].

    Raises:
        ImageError: shorter than SHORTEST, or nothing but silence.

    """
    if len(samples) < SHORTEST:
        raise ImageError(FIELD, f"is {len(samples) / RATE:.3f} s long; {SHORTEST / RATE} s is the least")
    if float(np.ptp(samples)) == 0.0:
        raise ImageError(FIELD, "is silent: there is nobody to be heard")
    if len(samples) < WINDOW:
        samples = np.resize(samples, WINDOW)
    mels = log_mel(samples)
    last = mels.shape[1] - FRAMES
    starts = [min(start, last) for start in range(0, windows_of(len(samples)) * FRAMES, FRAMES)]
    return np.stack([_picture(mels[:, start : start + FRAMES]) for start in starts])


def _picture(mels: NDArray[np.float32]) -> Pixels:
    """float32 [64, 64] -> uint8 [64, 64, 3]."""
    centred = mels - mels.mean(axis=1, keepdims=True)
    deviation = centred.std(axis=1, keepdims=True)
    standard = np.where(deviation > STEADY, centred / np.maximum(deviation, STEADY), 0)
    grey = np.rint((np.clip(standard, -CLIP, CLIP) + CLIP) * (255 / (2 * CLIP))).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
