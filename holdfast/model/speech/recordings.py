"""From a WAV file's bytes to pictures, priced and bounded before a sample is read."""

from holdfast.errors import ImageError
from holdfast.model.images.pixels import Pixels
from holdfast.model.speech.pictures import HOP, RATE, WINDOW, pictures, resample, windows_of
from holdfast.model.speech.wav import FIELD, WavHeader, read_header, read_samples

MOST_SECONDS = 30.0
"""Of one recording, where nothing else is said."""

MOST_BYTES = 16 * 2**20
"""Of one recording's file, where nothing else is said: 30 s of what is largest, 48 kHz, 32 bits, stereo, are 11.5 million."""

_BASE, _SAMPLE, _RESAMPLED, _FRAME = 0.2e-3, 10e-9, 120e-9, 12e-6


def check_length(wav: bytes, header: WavHeader, *, max_seconds: float, max_bytes: int = MOST_BYTES) -> None:
    """Refuse what is too long, by its header alone. Raises ImageError."""
    if header.seconds > max_seconds:
        raise ImageError(FIELD, f"is {header.seconds:.1f} s long; the limit is {max_seconds:g} s: send a part of it")
    if len(wav) > max_bytes:
        raise ImageError(FIELD, f"has {len(wav)} bytes; the limit is {max_bytes}: send a part of it")


def price(header: WavHeader) -> float:
    """Expected seconds of CPU for all its pictures, on the machine of `holdfast.model.images.price`'s figures."""
    resampled = 0.0 if header.rate == RATE else _RESAMPLED * header.frames
    return _BASE + _SAMPLE * header.frames * header.channels + resampled + _FRAME * samples_of(header) / HOP


def samples_of(header: WavHeader) -> int:
    """How many samples it has at 8 kHz."""
    return -(-header.frames * RATE // header.rate)


def windows(header: WavHeader) -> int:
    """How many pictures it becomes."""
    return windows_of(samples_of(header))


def decode_recording(wav: bytes, *, max_seconds: float = MOST_SECONDS, max_bytes: int = MOST_BYTES) -> Pixels:
    """Pictures of a WAV file: PCM of 8, 16, 24 or 32 bits, 8 to 48 kHz, mono or stereo.

    Args:
        wav: the file's bytes.
        max_seconds: the longest recording that is read.
        max_bytes: the largest file that is.

    Returns:
        uint8 [W, 64, 64, 3], as `holdfast.model.speech.pictures.pictures` makes them.

    Raises:
        ImageError: with field "audio", for anything that is no such recording.

    """
    header = read_header(wav)
    check_length(wav, header, max_seconds=max_seconds, max_bytes=max_bytes)
    return pictures(resample(read_samples(wav, header), header.rate))


def pieces(header: WavHeader) -> list[tuple[int, int]]:
    """Parts of a recording that are one picture each, as frames [start, stop): one after the other, the last up to the end."""
    longest = WINDOW * header.rate // RATE
    if header.frames <= longest:
        return [(0, header.frames)]
    starts = [min(start, header.frames - longest) for start in range(0, header.frames, longest)]
    return [(start, start + longest) for start in dict.fromkeys(starts)]
