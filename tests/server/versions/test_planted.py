"""Planted adversaries are found by an encoder's own gradient, in however few directions it moves, and by no other."""

import numpy as np
import pytest

from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.answers import Floats
from holdfast.model.preprocess import InputContract, Pixels
from holdfast.server.versions.checks import FEWEST_CASES, LEAST_FOUND
from holdfast.server.versions.planted import search_planted

SIDE = 16


class FewDirections:
    """An embedding that moves in `directions` directions: a linear map of pixels, and a constant."""

    def __init__(self, directions: int, seed: int) -> None:
        weights = np.random.default_rng(seed).normal(size=(SIDE * SIDE * 3, directions))
        self._weights = (weights / SIDE).astype(np.float32)
        self.contract, self.dim = InputContract(height=SIDE, width=SIDE), directions + 1

    def embed(self, images: Pixels) -> Floats:
        return self._embedded(images.astype(np.float32) / 255)[0]

    def vjp(self, pixels: Floats, cotangents: Floats) -> Floats:
        unit, lengths = self._embedded(pixels)
        along = np.sum(cotangents * unit, axis=1, keepdims=True)
        slopes = ((cotangents - along * unit) / lengths)[:, :-1] @ self._weights.T
        return slopes.reshape(pixels.shape).astype(np.float32)

    def _embedded(self, pixels: Floats) -> tuple[Floats, Floats]:
        moved = (pixels.reshape(len(pixels), -1) - np.float32(0.5)) @ self._weights
        values = np.concatenate([moved, np.ones((len(pixels), 1), np.float32)], axis=1)
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        return values / lengths, lengths


@pytest.mark.parametrize("directions", [1, 2, 3, 4, 8, 64])
@pytest.mark.parametrize("threat", [ThreatModel("linf", 4 / 255), ThreatModel("l2", 0.5)])
def test_an_encoder_finds_what_is_planted_beside_it_and_another_ones_gradient_does_not(
    directions: int, threat: ThreatModel
) -> None:
    images = np.random.default_rng(2).integers(0, 256, (8, SIDE, SIDE, 3), dtype=np.uint8)
    encoder, other = FewDirections(directions, seed=0), FewDirections(directions, seed=1)
    own = search_planted(encoder, encoder, images, threat)
    assert own.cases < FEWEST_CASES or own.found >= LEAST_FOUND * own.cases
    others = search_planted(encoder, other, images, threat)
    assert others.found <= 1
    if directions >= 8:
        assert own.cases >= 6
