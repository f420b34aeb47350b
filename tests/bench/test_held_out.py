"""bench.detectors.held_out at a size that takes seconds: what it shows, what it keeps, and what it says of alarms."""

import gzip
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from bench.detectors.benign import OF_NO_CLASS, BenignTraffic
from bench.detectors.held_out import answers, traffic
from bench.detectors.held_out.__main__ import AlarmRate, by_detector
from bench.detectors.held_out.answers import AnswersFolder
from bench.detectors.held_out.promises import Promises
from bench.detectors.held_out.serving import serve_traffic
from bench.detectors.held_out.sources import HeldOutSources, read_sources
from bench.detectors.replay import FalseAlarms, answered
from bench.synthetic import write_bundle
from holdfast.data import LabelledImages
from holdfast.errors import HoldfastError
from holdfast.model.answers import Answers
from holdfast.model.credibility import Calibration
from holdfast.server.core.snapshot import ModelSnapshot
from tests.server.monitor.detectors.watching import pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of all five kinds, a few of each."""
    root = tmp_path_factory.mktemp("pictures")
    for name, side in (("photos", 90), ("sign-digits", 60)):
        (root / name).mkdir()
        for number, image in enumerate(pictures(3, seed=side, side=side)):
            Image.fromarray(image).save(root / name / f"{number}.jpg")
    for name in ("mnist", "fashion-mnist"):
        (root / name).mkdir()
        grey = pictures(80, seed=1, side=28)[..., 0]
        packed = b"\0\0\x08\x03" + struct.pack(">3I", *grey.shape) + grey.tobytes()
        (root / name / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(packed))
    return root


def labelled(count: int) -> LabelledImages:
    sources = [f"picture/{number}" for number in range(count)]
    return LabelledImages(pictures(count, seed=0), np.arange(count) % 10, tuple("abcdefghij"), sources)


def sources_of(folder: Path, draw: int) -> HeldOutSources:
    return read_sources(labelled(60), folder, draw)


def test_a_draw_is_the_same_each_time_and_another_draw_is_other_traffic(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "FRAMES", 6)
    one, again, other = (list(traffic.held_out_traffic(sources_of(folder, draw), 0.002, draw)) for draw in (1, 1, 2))
    assert len({kind.name for kind in one}) == len(one) == len(other)
    (alone,) = traffic.held_out_traffic(sources_of(folder, 1), 0.002, 1, ["retries"])
    np.testing.assert_array_equal(alone.images, next(kind.images for kind in one if kind.name == "retries"))
    for kind, same, differs in zip(one, again, other, strict=True):
        assert kind.images.dtype == np.uint8
        assert kind.images.shape[1:] == (32, 32, 3)
        assert len(kind.images) == len(kind.callers) > 0
        np.testing.assert_array_equal(kind.images, same.images)
        assert kind.callers == same.callers
        assert kind.images.tobytes() != differs.images.tobytes()


def test_in_a_mixture_each_caller_asks_in_its_own_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "FRAMES", 20)
    mixed = traffic.mixture(sources_of(folder, 1), 0.01, 1, 2)
    film = [image for image, caller in zip(mixed.images, mixed.callers, strict=True) if caller == "slide show-0"]
    steps = [float(np.abs(a.astype(int) - b).mean()) for a, b in zip(film[1:], film[:-1], strict=True)]
    assert len(film) == 20
    assert max(steps) < 30  # faded, not cut


def test_no_image_of_the_bundles_kind_is_one_that_the_tuned_traffic_shows(folder: Path) -> None:
    tuned = {image.tobytes() for image in pictures(60, seed=0)}
    assert not tuned & {image.tobytes() for image in sources_of(folder, 1).alike}


def test_a_folder_without_pictures_is_said(tmp_path: Path, folder: Path) -> None:
    for name in ("mnist", "fashion-mnist"):
        (tmp_path / name).symlink_to(folder / name)
    (tmp_path / "photos").mkdir()
    with pytest.raises(HoldfastError, match="photos holds no pictures"):
        read_sources(labelled(4), tmp_path, 1)


def test_kept_answers_are_those_of_the_model(tmp_path: Path) -> None:
    snapshot = ModelSnapshot.of(write_bundle(tmp_path / "bundle"), 1, "bench")
    images = pictures(6, seed=3)[[0, 1, 1, 2, 5, 0]]
    expected = answered(snapshot, images)
    for _ in range(2):  # asked, and read
        found = AnswersFolder(snapshot, tmp_path / "kept")(images)
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_allclose(found.embeddings, expected.embeddings, atol=1e-6)
        np.testing.assert_allclose(found.soft_margin, expected.soft_margin, atol=1e-5)
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_answers_are_kept_by_parts_so_that_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "PART", 2)
    snapshot, images = ModelSnapshot.of(write_bundle(tmp_path / "bundle"), 1, "bench"), pictures(5, seed=3)
    first = AnswersFolder(snapshot, tmp_path / "kept")(images)
    parts = sorted((tmp_path / "kept").iterdir())
    assert len(parts) == 3
    parts[0].unlink()
    kept = {path.name: path.stat().st_mtime_ns for path in parts[1:]}
    again = AnswersFolder(snapshot, tmp_path / "kept")(images)
    np.testing.assert_allclose(again.soft_margin, first.soft_margin, atol=1e-5)
    assert sorted((tmp_path / "kept").iterdir()) == parts
    assert {path.name: path.stat().st_mtime_ns for path in parts[1:]} == kept


CALIBRATION = Calibration(nonconformity=tuple(np.linspace(0, 1, 999)), abstain_below=0, coverage=1)


def asked(callers: int, each: int, seed: int, labels: int | None = None, power: float = 1) -> tuple[BenignTraffic, Answers]:
    """Different images of as many callers, with p-values that are uniform to that power, of the distance and of label 0."""
    rng, count = np.random.default_rng(seed), callers * each
    images = rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    names = tuple(f"caller-{number % callers}" for number in range(count))
    kind = BenignTraffic("asked", "", images, names, None if labels is None else np.full(count, labels))
    share = rng.uniform(0, 1, count) ** power
    found: Any = SimpleNamespace(
        kth_distance_p_value=rng.uniform(0, 1, count) ** power,
        probabilities=np.stack([share, np.zeros(count)], axis=1).astype(np.float32),
    )
    return kind, found


@hypothesis_settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(10, 30))
def test_promises_hold_of_images_like_those_calibrated_on(seed: int, callers: int) -> None:
    promises = Promises(*asked(callers, 100, seed, labels=0), CALIBRATION)
    assert promises.check().broken == ()
    assert not promises.is_right("drift", "")
    np.testing.assert_allclose(promises.check().distance, (0.01, 0.05, 0.1, 0.2), atol=0.06)


def test_promises_are_broken_by_images_that_are_stranger_and_drift_is_right_then() -> None:
    promises = Promises(*asked(12, 100, seed=0, labels=0, power=2), CALIBRATION)
    assert promises.check().broken == ("distance", "label")
    assert promises.is_right("drift", "")
    assert promises.is_right("extraction-distribution", "caller-3")
    for other in ("query-similarity", "update-pattern", "low-margin", "duplicate-flood"):
        assert not promises.is_right(other, "")
        assert not promises.is_right(other, "caller-3")


def test_of_few_callers_nothing_is_said() -> None:
    assert not Promises(*asked(9, 200, seed=0, labels=0, power=3), CALIBRATION).check().broken


def test_an_image_of_no_class_has_no_right_label_and_one_without_a_label_the_largest_p_value() -> None:
    assert Promises(*asked(12, 50, 1, labels=OF_NO_CLASS), CALIBRATION).check().label == (1, 1, 1, 1)
    assert Promises(*asked(12, 50, 1, labels=1), CALIBRATION).check().label == (1, 1, 1, 1)
    unlabelled, right = (Promises(*asked(12, 50, 1, labels=labels), CALIBRATION).check().label for labels in (None, 0))
    assert unlabelled == right


def test_a_caller_whose_own_images_are_stranger_is_told_from_the_others() -> None:
    kind, found = asked(12, 100, seed=2, labels=0)
    strange = np.array([caller == "caller-5" for caller in kind.callers])
    found.kth_distance_p_value[strange] **= 3
    promises = Promises(kind, found, CALIBRATION)
    right = [caller for caller in sorted(set(kind.callers)) if promises.is_right("extraction-distribution", caller)]
    assert right == ["caller-5"]


def test_alarms_are_counted_by_detector_over_all_images() -> None:
    kinds = [
        FalseAlarms("one", 300_000, 1000, {"drift": 50}, {"drift": 1}, 10),
        FalseAlarms("other", 700_000, 1000, {}, {}, 10),
    ]
    rates = by_detector(kinds)
    assert rates["drift"] == rates["all"] == AlarmRate(1, 1_000_000)
    assert str(AlarmRate(0, 1_000_000)) == "0.0, below 3.0"
    assert str(rates["drift"]) == "1.0, below 4.7"


@pytest.mark.slow
def test_a_server_is_asked_by_each_caller_and_its_detectors_look_at_all(tmp_path: Path, folder: Path) -> None:
    write_bundle(tmp_path / "bundle")
    mixed = traffic.mixture(sources_of(folder, 1), 0.002, 1, 2)
    served = serve_traffic(tmp_path / "bundle", mixed, 60)
    assert served.images == served.looked_at == 60
    assert served.callers == len(set(mixed.callers[:60]))
