"""A strict reader of WAV files (RIFF, Multimedia Programming Interface 1.0): of PCM, known by its header before it is read."""

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import ImageError

FIELD = "audio"
"""What is at fault, in errors."""

LOWEST_RATE, HIGHEST_RATE = 8_000, 48_000
DEPTHS = (8, 16, 24, 32)
MOST_CHANNELS = 2
MOST_CHUNKS = 64
"""Before the sound: titles, cue points and the like. A stranger's file may have a million empty ones."""

_PCM, _EXTENSIBLE = 1, 0xFFFE
_FORMAT = struct.Struct("<HHIIHH")
_PCM_GUID = bytes.fromhex("0100000000001000800000aa00389b71")
_OTHERS = {3: "floats", 6: "A-law", 7: "mu-law", 17: "ADPCM", 85: "MP3"}


class WavHeader(NamedTuple):
    """A WAV file as its header describes it.

    Attributes:
        rate: samples in a second, LOWEST_RATE to HIGHEST_RATE.
        channels: 1 or 2.
        bits: of a sample: 8, 16, 24 or 32.
        start, frames: where the samples begin, in bytes, and how many there are of each channel, at least 1.

    """

    rate: int
    channels: int
    bits: int
    start: int
    frames: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.frames / self.rate


def read_header(wav: bytes) -> WavHeader:
    """Walk the chunks as far as the samples; nothing but headers is looked at.

    Raises:
        ImageError: no WAV, another coding than PCM of 8, 16, 24 or 32 bits, another rate or more channels than are taken, cut
            short, or without a sample.

    """
    if wav[:4] in {b"RF64", b"RIFX"}:
        raise ImageError(FIELD, f"is {wav[:4].decode()}, not RIFF: convert it to a plain WAV file")
    if wav[:4] != b"RIFF" or wav[8:12] != b"WAVE":
        raise ImageError(FIELD, "is no WAV file: send PCM in a RIFF/WAVE file")
    coding, position = b"", 12
    for _ in range(MOST_CHUNKS):
        name, length = wav[position : position + 4], int.from_bytes(wav[position + 4 : position + 8], "little")
        start = position + 8
        if start > len(wav):
            raise ImageError(FIELD, "is cut short: no samples follow its header")
        if name == b"data":
            return _header(coding, start, length, len(wav))
        if name == b"fmt ":
            coding = wav[start : start + min(length, 40)]
        position = start + length + length % 2
    raise ImageError(FIELD, f"has more than {MOST_CHUNKS} chunks before its samples")


def _header(coding: bytes, start: int, length: int, size: int) -> WavHeader:
    """What the format's chunk says, held against the samples' place in a file of `size` bytes."""
    if len(coding) < _FORMAT.size:
        raise ImageError(FIELD, "says nothing of its format before its samples")
    kind, channels, rate, _, block, bits = _FORMAT.unpack_from(coding)
    if kind == _EXTENSIBLE and coding[24:40] == _PCM_GUID:
        kind = _PCM
    if kind != _PCM:
        raise ImageError(FIELD, f"holds {_OTHERS.get(kind, f'coding {kind}')}, not PCM: convert it")
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise ImageError(FIELD, f"has {rate} samples a second; {LOWEST_RATE} to {HIGHEST_RATE} are taken: resample it")
    if not 1 <= channels <= MOST_CHANNELS:
        raise ImageError(FIELD, f"has {channels} channels; 1 or 2 are taken")
    if bits not in DEPTHS or block != channels * bits // 8:
        raise ImageError(FIELD, f"has {bits} bits a sample in blocks of {block} bytes; 8, 16, 24 or 32 bits are taken")
    if start + length > size:
        raise ImageError(FIELD, f"is cut short: it states {length} bytes of samples and has {size - start}")
    if length < block:
        raise ImageError(FIELD, "holds no sample")
    return WavHeader(rate, channels, bits, start, length // block)


def read_samples(wav: bytes, header: WavHeader) -> NDArray[np.float32]:
    """The mean of its channels, float32 [frames] in [-1, 1)."""
    count = header.frames * header.channels
    samples: NDArray[np.floating]
    raw = np.frombuffer(wav, np.uint8, count * header.bits // 8, header.start)
    if header.bits == 8:  # the only one without a sign
        samples = (raw.astype(np.float32) - 128) / 128
    elif header.bits == 24:
        wide = np.zeros((count, 4), np.uint8)
        wide[:, 1:] = raw.reshape(count, 3)
        samples = wide.view("<i4")[:, 0].astype(np.float32) / 2**31
    else:
        samples = raw.view(f"<i{header.bits // 8}").astype(np.float32) * np.float32(2.0 ** (1 - header.bits))
    mixed: NDArray[np.float32] = samples.reshape(header.frames, header.channels).mean(axis=1, dtype=np.float32)
    return mixed


def write_wav(samples: NDArray[np.float32], rate: int) -> bytes:
    """A mono file of 16 bits of samples in [-1, 1]; louder ones are clipped."""
    return _file(rate, 1, 16, np.clip(np.rint(np.asarray(samples, np.float64) * 32768), -32768, 32767).astype("<i2").tobytes())


def _file(rate: int, channels: int, bits: int, data: bytes) -> bytes:
    block = channels * bits // 8
    coding = _FORMAT.pack(_PCM, channels, rate, block * rate, block, bits)
    padding = b"\0" * (len(data) % 2)
    chunks = b"fmt " + struct.pack("<I", len(coding)) + coding + b"data" + struct.pack("<I", len(data)) + data + padding
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def cut_wav(wav: bytes, header: WavHeader, start: int, stop: int) -> bytes:
    """A file of the frames [start, stop) alone, in the same coding."""
    block = header.channels * header.bits // 8
    return _file(header.rate, header.channels, header.bits, wav[header.start + start * block : header.start + stop * block])
