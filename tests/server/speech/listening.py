"""A tiny bundle that listens, and voices to send."""

from pathlib import Path
from typing import Any

import numpy as np

from holdfast.model.preprocess import InputContract
from holdfast.model.speech.pictures import pictures
from tests.bundles import Labels, Linear, Pixels, write_bundle
from tests.holdfast.model.speech.sounds import as_wav, voice

SPEAKERS = {"low": 90.0, "middle": 150.0, "high": 260.0}
STRANGER = 400.0


def said(pitch: float, seed: int, seconds: float = 0.6) -> np.ndarray:
    """A recording of somebody, who always says the same in the same way, but for noise: float32 [n]."""
    noise = 0.004 * np.random.default_rng(seed).normal(size=round(seconds * 8_000)).astype(np.float32)
    return np.resize(voice(0.6, pitch=pitch, seed=int(pitch)), len(noise)) + noise


def wav(pitch: float, seed: int, seconds: float = 0.6) -> bytes:
    return as_wav(said(pitch, seed, seconds))


def _of_all(each: int, seed: int) -> tuple[Pixels, Labels]:
    drawn = [pictures(said(pitch, seed + number)) for pitch in SPEAKERS.values() for number in range(each)]
    return np.concatenate(drawn), np.repeat(np.arange(len(SPEAKERS)), each)


def write_listening_bundle(directory: Path, **changes: Any) -> Path:
    contract = InputContract(kind="speech", height=64, width=64)
    encoder = Linear.random(64, 32, grey=0.5)
    options = {"exemplars": _of_all(20, 0), "held_out": _of_all(10, 500), "input": contract, "gradient": True} | changes
    return write_bundle(directory, encoder, tuple(SPEAKERS), **options)
