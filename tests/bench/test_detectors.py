"""bench.detectors at a size that takes seconds: its traffic, its own attacker, and what it says of both."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.detectors.__main__ import targets_of
from bench.detectors.attackers import SpentError, wide_steps
from bench.detectors.benign import benign_traffic
from bench.detectors.replay import false_alarms
from bench.synthetic import write_bundle
from holdfast.bundle.calibration_set import CalibrationSet
from holdfast.data import LabelledImages
from holdfast.model.preprocess import Pixels
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.settings import Settings
from tests.server.monitor.detectors.watching import pictures


def labelled(count: int) -> LabelledImages:
    return LabelledImages(pictures(count, seed=0), np.arange(count) % 10, tuple("abcdefghij"), tuple(map(str, range(count))))


def test_every_kind_of_benign_traffic_has_images_and_as_many_callers() -> None:
    kinds = list(benign_traffic(labelled(60), scale=0.005))
    assert len({kind.name for kind in kinds}) == len(kinds) == 8
    for kind in kinds:
        assert kind.images.dtype == np.uint8
        assert kind.images.shape[1:] == (32, 32, 3)
        assert len(kind.images) == len(kind.callers) > 0


def test_hardly_two_frames_of_films_and_cameras_are_the_same() -> None:
    moving = [kind for kind in benign_traffic(labelled(60), scale=0.025) if kind.name in {"films", "cameras"}]
    assert [kind.name for kind in moving] == ["films", "cameras"]
    for kind in moving:
        assert len({image.tobytes() for image in kind.images}) > 0.9 * len(kind.images)


def test_false_alarms_are_counted_by_detector_and_by_caller(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    snapshot = ModelSnapshot.of(bundle, 1, "bench")
    (kind,) = (kind for kind in benign_traffic(labelled(60), scale=0.005) if kind.name == "retries")
    found = false_alarms(snapshot, Settings(bundle=tmp_path), kind, least=3 * len(kind.images))
    assert found.images == 3 * len(kind.images)
    assert found.different <= len(kind.images)
    assert found.alarms_per_million == 1e6 * sum(found.alarmed.values()) / found.images


def test_an_alarm_that_is_right_is_no_false_one(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    held_out = CalibrationSet(bundle.encoder.embed(pictures(40, 1)), np.zeros(40, np.int64), ("",) * 40)
    snapshot = replace(ModelSnapshot.of(bundle, 1, "with held-out images"), load_calibration=lambda: held_out)
    settings = Settings(bundle=tmp_path, coverage_images=1, coverage_above=0.01, alarm_names=True)
    (kind,) = (kind for kind in benign_traffic(labelled(60), scale=0.005) if kind.name == "batch job")
    asked: set[tuple[str, str]] = set()

    def is_right(detector: str, caller: str) -> bool:
        asked.add((detector, caller))
        return detector == "extraction-coverage"

    strictly = false_alarms(snapshot, settings, kind, least=1)
    found = false_alarms(snapshot, settings, kind, least=1, is_right=is_right)
    assert strictly.alarmed
    assert not strictly.right
    assert found.right | found.alarmed == strictly.alarmed
    assert "extraction-coverage" not in found.alarmed
    assert ("extraction-coverage", "caller-0") in asked


@pytest.mark.parametrize(("size", "grain"), [(16, 1), (8, 4)])
def test_wide_steps_go_along_the_edge_of_what_answers(size: int, grain: int) -> None:
    asked: list[Pixels] = []
    image = np.full((32, 32, 3), 90, np.uint8)

    def ask(images: Pixels) -> np.ndarray:
        if sum(map(len, asked)) > 300:
            raise SpentError
        asked.append(images)
        bright = images.mean(axis=(1, 2, 3)) > 110
        return np.eye(2, dtype=np.float32)[bright.astype(int)]

    with pytest.raises(SpentError):
        wide_steps(size, grain)(ask, image, 0, np.random.default_rng(0))
    (steps,) = {part.shape for part in asked if len(part) > 1}
    assert steps == (40, 32, 32, 3)
    spread = np.concatenate([part for part in asked if len(part) > 1]).astype(float).std(axis=0).mean()
    assert spread > size / 2


def test_targets_are_of_what_was_measured() -> None:
    assert targets_of({}) == []
    runs = [{"attack": "Square", "found": found} for found in (100, None)]
    benign = {"kinds": [{"alarms_per_million": value} for value in (0.0, 12.0)]}
    targets = targets_of(
        {"price": {"callers_1": {"share": 0.01}, "bytes_per_caller": 1.0}, "benign": benign, "attacks": {"runs": runs}}
    )
    assert [target.met for target in targets] == [True, False, False]
