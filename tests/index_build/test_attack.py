"""The attack that votes are compared under, on an encoder whose gradient is known by hand."""

import numpy as np
import pytest

from holdfast import data
from holdfast.bundle import Bundle
from holdfast.bundle.threat_model import ThreatModel
from holdfast.index_build.attack import AT_ONCE, STEPS, attack
from holdfast.model.surrogate import SoftKNN
from tests.index_build.test_index_build import DIM, write_bundle

CLASSES = 3


@pytest.fixture(scope="module")
def attacked_bundle(tmp_path_factory):
    bundle = Bundle.open_encoder(write_bundle(tmp_path_factory.mktemp("attack") / "bundle", data.load("digits", size=8)))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (AT_ONCE + 20, 8, 8, 3), dtype=np.uint8)
    bank = bundle.encoder.embed(rng.integers(0, 256, (200, 8, 8, 3), dtype=np.uint8))
    return bundle, images, SoftKNN(bank, rng.integers(0, CLASSES, 200), CLASSES, 0.1)


def test_the_gradient_graph_of_these_tests_is_right(attacked_bundle) -> None:
    bundle, images, _ = attacked_bundle
    pixels = images[:4].astype(np.float64) / 255
    weights = np.random.default_rng(0).normal(size=(192, DIM)).astype(np.float32)
    cotangents = np.random.default_rng(1).normal(size=(4, DIM)).astype(np.float32)

    def value(at: np.ndarray) -> np.ndarray:
        z = (at.reshape(4, -1) * 255 - 80) @ weights
        return (z / np.linalg.norm(z, axis=1, keepdims=True) * cotangents).sum(1)

    direction = np.random.default_rng(2).normal(size=pixels.shape)
    numeric = (value(pixels + 1e-5 * direction) - value(pixels - 1e-5 * direction)) / 2e-5
    slopes = bundle.gradient.vjp(pixels.astype(np.float32), cotangents)
    np.testing.assert_allclose((slopes * direction).sum((1, 2, 3)), numeric, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("threat", [ThreatModel("linf", 8 / 255), ThreatModel("l2", 1.0)], ids=str)
def test_margins_fall_and_images_stay_in_the_ball(attacked_bundle, threat) -> None:
    bundle, images, surrogate = attacked_bundle
    labels = surrogate.log_scores(bundle.encoder.embed(images)).argmax(1).astype(np.int64)
    counted: list[int] = []
    attacked = attack(bundle, images, labels, surrogate, threat, advance=counted.append)
    assert attacked.dtype == np.uint8
    assert sum(counted) == STEPS * len(images)
    moved = ((attacked.astype(float) - images) / 255).reshape(len(images), -1)
    if threat.norm == "linf":
        assert np.abs(moved).max() <= threat.epsilon + 1e-6
    else:
        assert np.linalg.norm(moved, axis=1).max() <= threat.epsilon + 1e-6
    before, after = (surrogate.margin(bundle.encoder.embed(part), labels) for part in (images, attacked))
    assert (after < before).all()


def test_no_ball_no_change(attacked_bundle) -> None:
    bundle, images, surrogate = attacked_bundle
    labels = np.zeros(len(images), np.int64)
    still = attack(bundle, images, labels, surrogate, ThreatModel("linf", 0.0), advance=lambda _: None)
    np.testing.assert_array_equal(still, images)


def test_no_images_are_attacked_to_no_images(attacked_bundle) -> None:
    bundle, images, surrogate = attacked_bundle
    none = attack(bundle, images[:0], np.zeros(0, np.int64), surrogate, ThreatModel("linf", 0.1), advance=lambda _: None)
    assert none.shape == (0, 8, 8, 3)
