"""What is taken for an attack, and what is not: many alike images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from holdfast.model.images.sketches import CELLS, Sketcher
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.monitor.detectors.alike.differences import change_between
from holdfast.server.monitor.detectors.similarity.fingerprints import SHARED, Fingerprinter
from tests.server.monitor.detectors.watching import Watched, film, of_two_minds, pictures, search, textured

SIMILARITY = ("query-similarity", "update-pattern", "duplicate-flood", "fingerprints")


def test_a_search_around_one_image_is_found_for_its_caller_and_for_all(snapshot: ModelSnapshot) -> None:
    watched = Watched(snapshot)
    (image,) = pictures(1, seed=1)
    for start in range(0, 60, 4):
        labels, margins = of_two_minds(4, start)
        watched.show(search(image, 4, 7, seed=start), labels=labels, margins=margins)
    for detector in ("query-similarity", "update-pattern"):
        assert {alarm.caller == "" for alarm in watched.raised(detector)} == {True, False}, detector
    assert watched.metric("holdfast_query_similarity_alarm_total", scope="caller") >= 2
    assert watched.metric("holdfast_alarms_total", detector="query-similarity", scope="all") == 1


def test_a_search_that_ten_callers_share_is_found_among_all(snapshot: ModelSnapshot) -> None:
    watched = Watched(snapshot)
    (image,) = pictures(1, seed=2)
    for start in range(0, 50, 5):
        labels, margins = of_two_minds(5, start)
        others = pictures(20, seed=100 + start)
        watched.show(others, [f"10.1.0.{n}" for n in range(20)])
        sybils = [f"10.0.0.{(start + n) % 10}" for n in range(5)]
        watched.show(search(image, 5, 7, seed=start), sybils, labels, margins)
    assert [alarm.caller for alarm in watched.raised("query-similarity")] == [""]


def test_a_patch_that_wanders_over_an_image_shows_by_fingerprints(snapshot: ModelSnapshot) -> None:
    watched = Watched(snapshot, detectors_off=())
    (image,) = textured(1, seed=3)
    rng = np.random.default_rng(0)
    for step in range(100):
        patched = image.copy()
        top, left = rng.integers(0, 24, 2)
        patched[top : top + 6, left : left + 6] = rng.integers(0, 256, 3)
        watched.show(patched[None], f"10.0.0.{step}", *of_two_minds(1, step))
    assert watched.raised("fingerprints")


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_a_film_is_no_attack_even_where_its_answer_is_in_doubt(snapshot: ModelSnapshot, seed: int) -> None:
    watched = Watched(snapshot)
    frames = film(200, seed)
    for start in range(0, 200, 10):
        watched.show(frames[start : start + 10], "10.0.0.7", *of_two_minds(10, start))
    assert not [alarm for alarm in watched.alarms if alarm.detector in SIMILARITY]


def test_retries_are_no_attack(snapshot: ModelSnapshot) -> None:
    watched = Watched(snapshot)
    (image,) = pictures(1, seed=7)
    for start in range(30):
        labels, margins = of_two_minds(20, start)
        watched.show(np.repeat(image[None], 20, axis=0), "10.0.0.7", labels, margins)
    assert not [alarm for alarm in watched.alarms if alarm.detector in SIMILARITY]


def test_a_few_encodings_of_one_image_again_and_again_are_no_attack(snapshot: ModelSnapshot) -> None:
    watched = Watched(snapshot)
    encodings = search(pictures(1, seed=7)[0], 8, 7, seed=0)
    for turn in range(20):
        watched.show(np.random.default_rng(turn).permutation(encodings), "10.0.0.7", *of_two_minds(8, turn))
    assert not [alarm for alarm in watched.alarms if alarm.detector in SIMILARITY]


def test_the_noise_of_a_camera_that_sees_a_doubtful_scene_is_no_attack(snapshot: ModelSnapshot) -> None:
    watched = Watched(snapshot)
    (image,) = pictures(1, seed=8)
    for start in range(30):
        watched.show(search(image, 10, 2, seed=start), "10.0.0.7", *of_two_minds(10, start))
    assert not [alarm for alarm in watched.alarms if alarm.detector in SIMILARITY]


def test_noise_that_moves_no_answer_is_no_attack(snapshot: ModelSnapshot) -> None:
    watched = Watched(snapshot)
    (image,) = pictures(1, seed=8)
    for start in range(30):
        calm = np.full(10, 3.0, np.float32)
        watched.show(search(image, 10, 2, seed=start), "10.0.0.7", np.zeros(10, np.int64), calm)
    assert not [alarm for alarm in watched.alarms if alarm.detector in SIMILARITY]


def test_very_many_variants_in_doubt_are_a_flood(snapshot: ModelSnapshot) -> None:
    watched = Watched(snapshot)
    frames = film(60, 9)
    for turn in range(60):
        shown = frames[turn % 6 :: 6] // 2 + np.uint8(turn // 6)  # never the very same
        watched.show(shown, "10.0.0.7", *of_two_minds(10, turn))
    assert watched.raised("duplicate-flood")


def test_different_pictures_are_no_attack(snapshot: ModelSnapshot) -> None:
    watched = Watched(snapshot)
    for start in range(20):
        labels, margins = of_two_minds(16, start)
        watched.show(pictures(16, seed=start), "10.0.0.7", labels, margins)
    assert not [alarm for alarm in watched.alarms if alarm.detector in SIMILARITY]


@hypothesis_settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 24))
def test_a_difference_is_none_for_identical_images_and_unexplained_for_noise(seed: int, size: int) -> None:
    (image,) = pictures(1, seed)
    assert change_between(image, image) == (0.0, 1.0)
    (noisy,) = search(image, 1, size, seed)
    found = change_between(noisy, image)
    assert found.rms == pytest.approx(np.sqrt(np.mean((noisy.astype(float) - image) ** 2)), rel=1e-5)
    assert 0 <= found.explained < 0.6
    assert change_between(image, noisy).rms == pytest.approx(found.rms)


def test_motion_and_light_explain_nearly_every_film_and_lamp() -> None:
    moved = [change_between(*film(2, seed)) for seed in range(300)]
    # What differs by less is rounding. A few pictures have too few edges to tell how they moved.
    assert np.mean([each.explained > 0.6 or each.rms < 1.5 for each in moved]) > 0.98
    for seed in range(50):
        (image,) = pictures(1, seed)
        assert change_between(image, np.clip(image * 0.9, 0, 255).astype(np.uint8)).explained > 0.9


@pytest.mark.parametrize("shape", [(8, 8, 3), (28, 28, 1), (32, 32, 3), (30, 45, 3), (100, 64, 3)])
def test_a_sketch_is_the_means_of_cells_and_a_detail_is_small(shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    sketcher = Sketcher(shape)
    sketches = sketcher.sketches(images)
    assert sketches.shape == (3, CELLS * CELLS)
    np.testing.assert_allclose(sketches.mean(axis=1) + 128, images.mean(axis=(1, 2, 3)), atol=0.01)
    assert sketcher.details(images).shape[3] == shape[2]
    assert max(sketcher.details(images).shape[1:3]) <= 32
    side = shape[0] // CELLS
    if shape[0] == shape[1] == side * CELLS:
        cells = images.reshape(3, CELLS, side, CELLS, side, -1).mean(axis=(2, 4, 5))
        np.testing.assert_allclose(sketches.reshape(3, CELLS, CELLS) + 128, cells, atol=0.01)


def test_fingerprints_match_where_most_of_an_image_is_the_same_and_only_with_one_secret() -> None:
    images = textured(20, seed=10)
    one, other = Fingerprinter(), Fingerprinter()
    changed = images.copy()
    changed[:, :6, :6] = 255 - changed[:, :6, :6]

    def shared(first: np.ndarray, second: np.ndarray) -> list[int]:
        return [len(set(a) & set(b) - {0}) for a, b in zip(first.tolist(), second.tolist(), strict=True)]

    assert shared(one.digests(images), one.digests(images)) == [len(set(row)) for row in one.digests(images).tolist()]
    assert np.mean(np.array(shared(one.digests(images), one.digests(changed))) >= SHARED / 2) > 0.8
    assert max(shared(one.digests(images), np.roll(one.digests(images), 1, axis=0))) < SHARED
    assert max(shared(one.digests(images), other.digests(images))) < 3
    assert not one.digests(np.full((1, 32, 32, 3), 90, np.uint8)).any()
    assert one.digests(np.zeros((2, 3, 3, 3), np.uint8)).shape == (2, 50)
