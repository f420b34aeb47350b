"""Scenes that stand still, cameras that shake and things that go by are no searches; searches are, wherever they hide."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from holdfast.model.preprocess import Pixels
from holdfast.server.monitor.detectors.alike.cluster import SHAKEN, TRAVELLED, Cluster, Normal, Query
from holdfast.server.monitor.detectors.alike.scenes import moved_on
from holdfast.server.monitor.detectors.alike.shaking import explained_by_shaking
from holdfast.server.monitor.detectors.alike.steps import ImageStep
from tests.server.monitor.detectors.watching import film, pictures, search, textured

NORMAL = Normal(alike=0.9, doubtful=0.3, edge=0.05, decline=0.1)
ON_EDGE = 0.01


def seen(images: np.ndarray, rng: np.random.Generator, noise: float) -> Pixels:
    """By a camera of such noise."""
    return np.clip(np.rint(images + rng.normal(0, noise, images.shape)), 0, 255).astype(np.uint8)


def evidence_of(images: Pixels, seed: int, lead: float = ON_EDGE) -> float:
    """The most that one cluster ever has, where the answer goes to and fro, and the margin does not fall."""
    rng, none, most = np.random.default_rng(seed), np.ones(2, np.float32), 0.0
    asked = [Query(0.0, image, none, int(rng.integers(2)), float(rng.normal(0, 0.1)), lead) for image in images]
    cluster = Cluster.begin(asked[0])
    for query in asked[1:]:
        cluster.add(query, NORMAL, {})
        most = max(most, cluster.evidence)
    return most


def with_box(scene: Pixels, top: int, left: int, size: int, colour: np.ndarray) -> Pixels:
    shown = scene.copy()
    shown[max(0, top) : top + size, max(0, left) : max(0, left + size)] = colour
    return shown


@pytest.mark.parametrize("seed", range(8))
def test_the_noise_that_is_left_once_a_thing_has_gone_by_is_no_search(seed: int) -> None:
    (scene,), rng = pictures(1, seed), np.random.default_rng(seed)
    shown = np.stack([with_box(scene, 10, 20 - 4 * at, 10, np.array([250, 20, 20])) for at in range(120)])
    assert evidence_of(seen(shown, rng, 2), seed) < 4


@pytest.mark.parametrize("seed", range(8))
def test_a_thing_that_goes_to_and_fro_is_no_search(seed: int) -> None:
    (scene,), rng = pictures(1, seed), np.random.default_rng(seed)
    shown, place, colour = [], 12, rng.integers(0, 256, 3)
    for _ in range(120):
        place = int(np.clip(place + rng.integers(-2, 3), 4, 20))
        shown.append(with_box(scene, 8, place, 9, colour))
    assert evidence_of(seen(np.stack(shown), rng, 1), seed) < 4


@pytest.mark.parametrize("seed", range(8))
def test_a_lamp_that_flickers_while_the_day_goes_by_is_no_search(seed: int) -> None:
    (scene,), rng = pictures(1, seed), np.random.default_rng(seed)
    at, columns = np.linspace(0, 1, 120)[:, None, None, None], np.linspace(0, 1, 32)[:, None]
    warm = 1 + 0.15 * np.array([1, 0, -1]) * at
    shade = 1 - 0.4 / (1 + np.exp(-12 * (columns - 1 + at)))
    flicker = 1 + 0.005 * (-1.0) ** np.arange(120)[:, None, None, None]
    assert evidence_of(seen(scene * warm * shade * flicker, rng, 2), seed) < 4


@pytest.mark.parametrize("seed", range(8))
def test_a_camera_that_shakes_is_no_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    (whole,) = textured(1, seed).repeat(2, axis=1).repeat(2, axis=2)
    places = rng.integers(14, 19, (120, 2))
    shown = np.stack([whole[top : top + 32, left : left + 32] for top, left in places.tolist()])
    assert evidence_of(seen(shown, rng, 4), seed) < 4


@pytest.mark.parametrize("seed", range(8))
def test_a_clock_that_counts_in_a_corner_is_no_search(seed: int) -> None:
    (scene,), rng = pictures(1, seed), np.random.default_rng(seed)
    shown = np.repeat(scene[None], 120, axis=0)
    shown[:, :7, -7:] = 255 * rng.integers(0, 2, (120, 7, 7, 1), dtype=np.uint8)
    assert evidence_of(shown, seed) < 4


@pytest.mark.parametrize("seed", range(8))
def test_a_search_along_the_edge_is_one_though_each_of_its_points_stands_still(seed: int) -> None:
    """As HopSkipJump: forty directions from one point, then from another one."""
    (image,), rng = pictures(1, seed), np.random.default_rng(seed)
    points = image + np.cumsum(rng.normal(0, 2, (4, *image.shape)), axis=0)
    shown = np.concatenate([seen(np.repeat(point[None], 40, axis=0), rng, 0.7) for point in points])
    assert evidence_of(np.concatenate([image[None], shown]), seed) >= 12


@pytest.mark.parametrize("seed", range(8))
def test_a_strong_patch_here_and_there_is_a_search(seed: int) -> None:
    (scene,), rng = textured(1, seed), np.random.default_rng(seed)
    places = rng.integers(0, 24, (160, 2)).tolist()
    shown = np.stack([with_box(scene, top, left, 7, rng.integers(0, 256, 3)) for top, left in places])
    assert evidence_of(shown, seed) >= 12


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(1, 6), st.integers(2, 10), st.floats(0.7, 1.3), st.floats(0.7, 1.3))
def test_a_still_scene_does_not_move_on_whatever_its_light_and_what_is_before_it(
    seed: int, noise: float, size: int, red: float, blue: float
) -> None:
    rng = np.random.default_rng(seed)
    scene = pictures(1, seed)[0] // 2 + 40
    (top, left), colour = rng.integers(0, 31 - size, 2).tolist(), rng.integers(0, 256, 3)
    lit = scene * np.array([red, 1, blue])
    shown = np.stack([scene, with_box(lit, top, left, size, colour), with_box(lit, top, left + 1, size, colour)])
    first, before, image = seen(shown, rng, noise)
    assert moved_on(image, before, first) < TRAVELLED


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.5, 6), st.floats(3, 10), st.integers(8, 40), st.integers(8, 40))
def test_what_is_further_from_the_first_everywhere_has_moved_on(
    seed: int, noise: float, times: float, height: int, width: int
) -> None:
    rng = np.random.default_rng(seed)
    first = rng.integers(90, 160, (height, width, 3), dtype=np.uint8)
    there = first + rng.normal(0, times * noise, first.shape)
    before, image = seen(np.stack([there, there]), rng, noise)
    assert moved_on(image, before, first) > TRAVELLED
    assert moved_on(first, before, first) == 0


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(1, 30), st.sampled_from([1, 4]), st.sampled_from(["pictures", "textured"]))
def test_shaking_explains_no_noise_whether_it_is_smooth_or_not(seed: int, size: float, grain: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    (image,) = (pictures if kind == "pictures" else textured)(1, seed)
    image = image // 2 + 64
    cells = rng.normal(0, size, (32 // grain, 32 // grain, 3)).repeat(grain, axis=0).repeat(grain, axis=1)
    asked = np.clip(np.rint(image + cells), 0, 255).astype(np.uint8)
    assert explained_by_shaking(asked, image) < SHAKEN
    assert explained_by_shaking(image, image) == 1


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(-4, 4), st.integers(-4, 4))
def test_shaking_explains_every_shift_that_a_camera_makes(seed: int, down: int, across: int) -> None:
    (whole,) = textured(1, seed).repeat(2, axis=1).repeat(2, axis=2)
    before, image = whole[8:40, 8:40], whole[8 + down : 40 + down, 8 + across : 40 + across]
    assert explained_by_shaking(image, before) > 0.95


def test_shaking_explains_a_good_part_of_films() -> None:
    assert np.mean([explained_by_shaking(*film(2, seed)) >= SHAKEN for seed in range(100)]) > 0.95


@hypothesis_settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(8, 40), st.integers(8, 40))
def test_steps_overlap_where_both_are(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    first, second, third = rng.integers(0, 256, (3, height, width, 3), dtype=np.uint8)
    one, other = ImageStep.between(first, second, None), ImageStep.between(second, third, None)
    assert one.overlap(one) == pytest.approx(1, abs=1e-4)
    assert one.overlap(other) == pytest.approx(other.overlap(one), abs=1e-5)
    assert 0 <= one.overlap(other) <= 1 + 1e-5
    here, there = first.copy(), first.copy()
    here[:4, :4] ^= 128
    there[4:8, 4:8] ^= 128
    assert ImageStep.between(first, here, None).overlap(ImageStep.between(first, there, None)) == 0
    assert ImageStep.between(first, first, None).overlap(one) == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_search_in_most_of_an_image_is_no_scene_that_stands_still(seed: int) -> None:
    """Whoever leaves a part as it is, but less than half, is seen as before."""
    (image,), rng = pictures(1, seed), np.random.default_rng(seed)
    points = np.repeat(image[None].astype(float), 4, axis=0)
    points[:, :20] += np.cumsum(rng.normal(0, 2, (4, 20, 32, 3)), axis=0)
    asked = np.repeat(points, 40, axis=0)
    asked[:, :20] = seen(asked[:, :20], rng, 0.7)
    assert evidence_of(np.concatenate([image[None], asked.astype(np.uint8)]), seed) >= 12


def test_steps_of_a_search_are_none_of_a_shaking_camera() -> None:
    (image,) = pictures(1, seed=4)
    asked = search(image, 40, 7, seed=4)
    assert all(explained_by_shaking(one, other) < SHAKEN for one, other in zip(asked[1:], asked[:-1], strict=True))
