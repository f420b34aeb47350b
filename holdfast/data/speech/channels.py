"""Rooms, microphones and noise, simulated at 8 kHz: what one recording has and another of the same voice has not.

A room is a burst of noise that decays exponentially behind a direct sound, 60 dB in RT60 seconds; a microphone is a gain in
each of three bands; noise is white, pink, a hum with harmonics, or a babble of other voices. No recording of a room or of noise
is needed. What is heard in them is no claim about real rooms.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.model.speech.pictures import RATE, Samples

RT60 = (0.1, 0.6)
BANDS = (500.0, 1_500.0)
"""Hertz between the three bands."""

NoiseKind = Literal["white", "pink", "hum", "babble"]
SNR = {"white": (0.0, 15.0), "pink": (0.0, 15.0), "hum": (5.0, 15.0), "babble": (13.0, 20.0)}
"""Decibels of the voice above the noise, uniform between these, by kind: the authors' ranges of noise, music and speech."""


@dataclass(frozen=True, eq=False)
class RoomResponse:
    """An impulse response: float32 [n], whose first sample is the direct sound, of energy 1."""

    response: Samples

    @classmethod
    def drawn(cls, random: np.random.Generator, rt60: tuple[float, float] = RT60) -> "RoomResponse":
        """A room of a random size and distance from the microphone."""
        seconds = random.uniform(*rt60)
        count = max(2, round(seconds * RATE))
        tail = random.normal(size=count) * 10 ** (-3 * np.arange(count) / count)
        tail *= np.sqrt(10 ** (random.uniform(-10, 3) / 10) / (tail**2).sum())  # the tail's energy against the direct sound's
        tail[0] = 1.0
        return cls((tail / np.sqrt((tail**2).sum())).astype(np.float32))

    def apply(self, samples: Samples) -> Samples:
        """As it is heard there: float32 [n] -> [n]."""
        size = 1 << (len(samples) + len(self.response) - 1).bit_length()  # a fast length
        spectrum = np.fft.rfft(samples, size) * np.fft.rfft(self.response, size)
        heard: Samples = np.fft.irfft(spectrum, size)[: len(samples)].astype(np.float32)
        return heard


def equalised(samples: Samples, gains: Sequence[float]) -> Samples:
    """With a gain in decibels in each of the three bands, which change into each other over an octave."""
    hertz = np.fft.rfftfreq(len(samples), 1 / RATE)
    octaves = np.log2(np.maximum(hertz, 1.0))
    edges = [(np.log2(band) - 0.5, np.log2(band) + 0.5) for band in BANDS]
    places = [edges[0][0], edges[0][1], edges[1][0], edges[1][1]]
    decibels = np.interp(octaves, places, [gains[0], gains[1], gains[1], gains[2]])
    changed: Samples = np.fft.irfft(np.fft.rfft(samples) * 10 ** (decibels / 20), len(samples)).astype(np.float32)
    return changed


def noise(kind: NoiseKind, count: int, random: np.random.Generator, others: Sequence[Samples] = ()) -> Samples:
    """Noise of power 1: float32 [count].

    Args:
        kind: of noise; babble is the sum of 3 to 5 of the `others`, or of all where there are fewer.
        count: samples.
        random: what it is drawn from.
        others: float32 [n] each, voices for babble; without any it is pink noise.

    """
    if kind == "babble" and others:
        chosen = random.permutation(len(others))[: random.integers(3, 6)]
        sound = np.sum([_scaled(np.roll(np.resize(others[i], count), random.integers(count))) for i in chosen], axis=0)
    elif kind == "hum":
        time = np.arange(count) / RATE
        pitch = random.uniform(45, 130)
        loudness, phases = random.uniform(0, 1, 15), random.uniform(0, 7, 15)
        pairs = zip(range(1, 16), loudness, phases, strict=True)
        sound = np.sum([a * np.sin(2 * np.pi * pitch * h * time + b) / h for h, a, b in pairs], axis=0)
        sound = sound * (1 + 0.5 * np.sin(2 * np.pi * random.uniform(0.5, 4) * time))
    else:
        sound = random.normal(size=count)
        if kind != "white":
            spectrum = np.fft.rfft(sound)
            sound = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), count)
    return _scaled(sound)


def with_noise(samples: Samples, added: Samples, decibels: float) -> Samples:
    """With noise of power 1 added, so many decibels below the mean power of the samples: float32 [n]."""
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    mixed: Samples = samples + added * np.float32(np.sqrt(power / 10 ** (decibels / 10)))
    return mixed


def _scaled(sound: NDArray[np.floating]) -> Samples:
    scaled: Samples = (sound / max(float(np.sqrt(np.mean(np.square(sound)))), 1e-9)).astype(np.float32)
    return scaled


@dataclass(frozen=True, eq=False)
class Channel:
    """How one recording was made: a room, a microphone and a noise floor; the same for all of it."""

    room: RoomResponse
    gains: tuple[float, float, float]
    floor: float
    seed: int

    @classmethod
    def drawn(cls, random: np.random.Generator) -> "Channel":
        """Bands of +-6 dB, a floor of pink noise 20 to 35 dB down."""
        gains = random.uniform(-6, 6, size=3)
        floor, seed = float(random.uniform(20, 35)), int(random.integers(2**63))
        return cls(RoomResponse.drawn(random), (float(gains[0]), float(gains[1]), float(gains[2])), floor, seed)

    def apply(self, samples: Samples) -> Samples:
        """A voice as it is recorded: float32 [n] -> [n]."""
        heard = equalised(self.room.apply(samples), self.gains)
        return with_noise(heard, noise("pink", len(heard), np.random.default_rng(self.seed)), self.floor)


@dataclass(frozen=True, eq=False)
class Profile:
    """An augmentation: another room and gain, and then noise of one kind and level (the authors' third type)."""

    room: RoomResponse | None
    gains: tuple[float, float, float]
    kind: NoiseKind
    decibels: float

    @classmethod
    def drawn(cls, random: np.random.Generator) -> "Profile":
        """A room with a chance of a half, then noise; the picture does not see how loud all of it is."""
        room = RoomResponse.drawn(random) if random.uniform() < 0.5 else None
        kind: NoiseKind = ("white", "pink", "hum", "babble")[int(random.integers(4))]
        gains = random.uniform(-3, 3, size=3)
        return cls(room, (float(gains[0]), float(gains[1]), float(gains[2])), kind, float(random.uniform(*SNR[kind])))

    def apply(self, samples: Samples, random: np.random.Generator, others: Sequence[Samples]) -> Samples:
        """A recording under it: float32 [n] -> [n]; noise is drawn once for all of it."""
        heard = samples if self.room is None else self.room.apply(samples)
        return with_noise(equalised(heard, self.gains), noise(self.kind, len(heard), random, others), self.decibels)
