"""Conditions that a recording is heard in: clean, noise at several levels, a room."""

from collections.abc import Sequence

import numpy as np

from holdfast.data.speech.channels import NoiseKind, RoomResponse, noise, with_noise
from holdfast.model.images.pixels import Pixels
from holdfast.model.speech.pictures import Samples, pictures

LEVELS = (20.0, 10.0, 5.0)
"""Decibels of the voice above the noise."""

REVERBERANT = (0.3, 0.6)
"""Seconds of RT60."""

CLEAN, REVERB = "clean", "reverb"


NOISES: dict[str, NoiseKind] = {"noise": "white", "babble": "babble"}
"""By the first word of a condition's name."""


def noise_condition(decibels: float, kind: str = "babble") -> str:
    """Name of the condition in which noise of a kind of NOISES is so many decibels below the voice."""
    return f"{kind} {decibels:g} dB"


NOISY = {noise_condition(level, kind): (kind, level) for kind in NOISES for level in LEVELS}
"""Kind and decibels of every noisy condition, by its name."""

CONDITIONS = (CLEAN, *NOISY, REVERB)


def heard_in(
    condition: str, recordings: Sequence[Samples], others: Sequence[Sequence[Samples]], *, seed: int = 0
) -> list[Samples]:
    """Recordings as they are heard in a condition.

    Args:
        condition: one of CONDITIONS.
        recordings: float32 [n] each, at 8 kHz.
        others: for each of them, voices that babble is made of.
        seed: of rooms and noise; a recording's own do not depend on the others'.

    """
    found = []
    for place, (samples, voices) in enumerate(zip(recordings, others, strict=True)):
        random = np.random.default_rng([seed, place])
        if condition == REVERB:
            found.append(RoomResponse.drawn(random, REVERBERANT).apply(samples))
        elif condition == CLEAN:
            found.append(samples)
        else:
            kind, level = NOISY[condition]
            found.append(with_noise(samples, noise(NOISES[kind], len(samples), random, voices), level))
    return found


def first_pictures(recordings: Sequence[Samples]) -> Pixels:
    """The first window of each: uint8 [N, 64, 64, 3]."""
    return np.concatenate([pictures(samples)[:1] for samples in recordings])
