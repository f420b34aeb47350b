"""PGD without torch: held against the torch one, and against what a ball and a grey level are."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.attacks.geometry import geometry_of
from holdfast.attacks.numpy_pgd import margin_slopes, numpy_geometry_of, numpy_pgd, to_floats
from holdfast.attacks.pgd import pgd
from holdfast.attacks.quantise import to_images_within, to_pixels
from holdfast.attacks.rounding import round_within
from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.surrogate import SoftKNN

THREATS = st.builds(ThreatModel, st.just("linf"), st.floats(0, 1)) | st.builds(ThreatModel, st.just("l2"), st.floats(0, 5))
SEEDS = st.integers(0, 10_000)


def drawn(seed, number=3):
    """Images, many of whose pixels are black or white, and float32 gradients of very different lengths."""
    rng = np.random.default_rng(seed)
    images = rng.integers(-80, 336, (number, 5, 6, 3)).clip(0, 255).astype(np.uint8)
    return images, (rng.normal(size=images.shape) * 10.0 ** rng.integers(-9, 9)).astype(np.float32)


def nchw(batch):
    return torch.from_numpy(np.ascontiguousarray(batch)).permute(0, 3, 1, 2)


def nhwc(batch):
    return batch.permute(0, 2, 3, 1).numpy()


def lengths(moves, threat):
    flat = moves.reshape(len(moves), -1).astype(float)
    return np.abs(flat).max(1) if threat.norm == "linf" else np.linalg.norm(flat, axis=1)


def candidates_of(search, steps):
    """All candidates, whatever their embeddings."""
    found = [next(search)]
    for _ in range(steps):
        found.append(search.send(np.zeros((len(found[0]), 2), np.float32)))
    with pytest.raises(StopIteration):
        search.send(None)
    return np.stack(found)


class Target:
    """Maximise -|x - goal|^2, by the same float32 operations in numpy and in torch."""

    def __init__(self, goal):
        self.goal = goal

    def slopes(self, pixels, _):
        return np.float32(-2) * (pixels - self.goal)

    def loss(self, pixels):
        return -(pixels - nchw(self.goal)).square().flatten(1).sum(1)


class TestParityWithTorch:
    @settings(max_examples=60)
    @given(THREATS, SEEDS, st.floats(0, 1))
    def test_a_step_and_a_projection(self, threat, seed, size):
        """Exactly the same in L-inf; in L2, where sums are taken in another order, up to 1e-6 of a pixel."""
        images, gradient = drawn(seed)
        clean, ours, theirs = to_floats(images), numpy_geometry_of(threat), geometry_of(threat)
        stepped = ours.step(clean, gradient, size)
        expected = theirs.step(nchw(clean), nchw(gradient), size)
        projected = ours.project(stepped, clean)
        expected_projection = theirs.project(nchw(stepped), nchw(clean))
        tolerance = 0 if threat.norm == "linf" else 1e-6
        np.testing.assert_allclose(stepped, nhwc(expected), rtol=0, atol=tolerance)
        np.testing.assert_allclose(projected, nhwc(expected_projection), rtol=0, atol=tolerance)
        assert stepped.dtype == projected.dtype == np.float32

    @pytest.mark.parametrize(
        "threat", [ThreatModel("linf", 8 / 255), ThreatModel("linf", 0.021), ThreatModel("l2", 0.7)], ids=str
    )
    @pytest.mark.parametrize("steps", [0, 1, 2, 7, 20])
    def test_the_same_start_and_gradients_lead_to_the_same_images(self, threat, steps):
        images, _ = drawn(1, number=8)
        target = Target(np.random.default_rng(2).random(images.shape).astype(np.float32))
        size = threat.epsilon / 4
        search = numpy_pgd(images, target.slopes, threat, steps=steps, step_size=size)
        theirs = pgd(target.loss, to_pixels(images), threat, steps=steps, step_size=size, random_start=False)
        np.testing.assert_array_equal(candidates_of(search, steps)[-1], to_images_within(theirs, images, threat))

    @settings(max_examples=40)
    @given(THREATS, SEEDS)
    def test_rounding(self, threat, seed):
        images, _ = drawn(seed)
        pixels = np.random.default_rng(seed).uniform(-0.5, 1.5, images.shape).astype(np.float32)
        np.testing.assert_array_equal(round_within(pixels, images, threat), to_images_within(nchw(pixels), images, threat))

    @pytest.mark.parametrize("norm", ["linf", "l2"])
    def test_random_starts_have_the_same_distribution(self, norm):
        threat, clean = ThreatModel(norm, 0.4), np.full((4000, 1, 2, 1), 0.5, np.float32)
        ours = numpy_geometry_of(threat).random_start(clean, np.random.default_rng(0)) - clean
        theirs = geometry_of(threat).random_start(nchw(clean), torch.Generator().manual_seed(0)) - nchw(clean)
        quantiles = [0.1, 0.25, 0.5, 0.75, 0.9]
        for one, two in ((ours, nhwc(theirs)), (lengths(ours, threat), lengths(nhwc(theirs), threat))):
            np.testing.assert_allclose(np.quantile(one, quantiles), np.quantile(two, quantiles), atol=0.02)


@settings(max_examples=60)
@given(THREATS, SEEDS, st.integers(0, 6), st.floats(0, 2), st.tuples(st.booleans(), st.booleans()))
def test_every_candidate_is_an_image_in_the_ball(threat, seed, steps, size, flags):
    images, gradient = drawn(seed)
    on_grid, random = flags
    geometry = numpy_geometry_of(threat)
    start = geometry.random_start(to_floats(images), np.random.default_rng(seed)) if random else None
    search = numpy_pgd(images, lambda *_: gradient, threat, steps=steps, step_size=size, start=start, on_grid=on_grid)
    for candidates in candidates_of(search, steps):
        assert candidates.dtype == np.uint8
        # In whole numbers, so that a pixel that wrapped around from 255 to 0 would show as a move of 255.
        assert (lengths(candidates.astype(int) - images, threat) <= threat.epsilon * 255 * (1 + 2e-6)).all()


@settings(max_examples=40)
@given(THREATS, SEEDS)
def test_projection_and_rounding_are_idempotent(threat, seed):
    images, gradient = drawn(seed)
    clean, geometry = to_floats(images), numpy_geometry_of(threat)
    once = geometry.project(clean + gradient, clean)
    np.testing.assert_allclose(geometry.project(once, clean), once, rtol=0, atol=1e-6)
    assert once.min() >= 0
    assert once.max() <= 1
    assert (lengths(once - clean, threat) <= threat.epsilon + 1e-5).all()
    rounded = round_within(once, images, threat)
    np.testing.assert_array_equal(round_within(to_floats(rounded), images, threat), rounded)


@settings(max_examples=20)
@given(SEEDS, st.sampled_from(["linf", "l2"]), st.floats(0, 0.99 / 255))
def test_less_than_a_grey_level_changes_nothing(seed, norm, epsilon):
    images, gradient = drawn(seed)
    search = numpy_pgd(images, lambda *_: gradient, ThreatModel(norm, epsilon), steps=3, step_size=1.0)
    for candidates in candidates_of(search, 3):
        np.testing.assert_array_equal(candidates, images)


def test_epsilons_between_grey_levels_are_rounded_down():
    images = np.full((1, 2, 2, 3), 250, np.uint8)
    for epsilon, levels in ((8 / 255, 8), (8.9 / 255, 8), (5.355 / 255, 5)):
        search = numpy_pgd(
            images, lambda pixels, _: -np.ones_like(pixels), ThreatModel("linf", epsilon), steps=1, step_size=1.0
        )
        assert np.unique(candidates_of(search, 1)[-1]).tolist() == [250 - levels]


def test_white_stays_white():
    images = np.full((1, 2, 2, 3), 255, np.uint8)
    search = numpy_pgd(images, lambda pixels, _: np.ones_like(pixels), ThreatModel("linf", 16 / 255), steps=2, step_size=0.1)
    np.testing.assert_array_equal(candidates_of(search, 2)[-1], images)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_zero_gradient_moves_nothing(norm):
    images, _ = drawn(0)
    search = numpy_pgd(images, lambda pixels, _: 0 * pixels, ThreatModel(norm, 0.1), steps=2, step_size=0.1)
    np.testing.assert_array_equal(candidates_of(search, 2)[-1], images)


def test_on_the_grid_the_gradient_is_taken_at_the_candidate():
    images, threat = drawn(3)[0], ThreatModel("linf", 8 / 255)
    for on_grid in (True, False):
        seen = []

        def slopes(pixels, _, seen=seen):
            seen.append(pixels)
            return np.ones_like(pixels)

        shown = candidates_of(numpy_pgd(images, slopes, threat, steps=3, step_size=1.5 / 255, on_grid=on_grid), 3)
        same = [np.array_equal(at, to_floats(candidates)) for at, candidates in zip(seen, shown[:3], strict=True)]
        assert same == ([True] * 3 if on_grid else [True, False, False])


def test_no_images_are_attacked_to_no_images():
    empty = np.zeros((0, 4, 4, 3), np.uint8)
    for norm in ("linf", "l2"):
        search = numpy_pgd(empty, lambda pixels, _: pixels, ThreatModel(norm, 0.1), steps=1, step_size=0.1)
        assert candidates_of(search, 1).shape == (2, *empty.shape)


def test_margin_slopes_lead_down_the_margin_through_the_encoders_gradient():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(12, 6)).astype(np.float32)
    bank = rng.normal(size=(20, 6)).astype(np.float32)
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    surrogate = SoftKNN(bank, np.arange(20) % 3, 3, 0.1)

    class Linear:
        def vjp(self, pixels, cotangents):
            return (cotangents @ matrix.T).reshape(pixels.shape)

    pixels, labels = rng.random((4, 2, 2, 3)).astype(np.float32), np.array([0, 1, 2, 0])

    def margin(at):
        return surrogate.margin((at.reshape(4, -1) @ matrix).astype(np.float32), labels)

    slopes = margin_slopes(surrogate, Linear(), labels)(pixels, pixels.reshape(4, -1) @ matrix)
    assert slopes.shape == pixels.shape
    assert (margin(pixels + 1e-3 * slopes / np.abs(slopes).max()) < margin(pixels)).all()


def test_no_program_with_it_needs_torch():
    modules = "holdfast.attacks.numpy_pgd, holdfast.server.run, holdfast.index_build.build"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
