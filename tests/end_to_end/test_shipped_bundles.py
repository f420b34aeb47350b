"""The bundles that travel with the repository: whole, small enough, honest about themselves, and as good as they say."""

import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from holdfast.bundle import Bundle
from holdfast.evaluation.report import read_report
from holdfast.evaluation.report.writing import DATA
from holdfast.evaluation.speech.report import SpeechReport
from holdfast.trainer.presets import PRESETS

BUNDLES = Path(__file__).parents[2] / "bundles"
SMALL = BUNDLES / "cifar10-small"
LARGEST = {"encoder.onnx": 6e6, "gradient.onnx": 6e6, "index.faiss": 14e6, "report/index.html": 2e6, "report/report.json": 2e6}


@pytest.fixture(scope="module")
def small() -> Bundle:
    return Bundle.open(SMALL)  # verifies every hash


def test_its_parts_are_small_and_nothing_else_travels_with_them(small) -> None:
    named = {*small.manifest.files, "manifest.json"}
    assert {str(path.relative_to(SMALL)) for path in SMALL.rglob("*") if path.is_file()} == named
    for name, most in LARGEST.items():
        assert (SMALL / name).stat().st_size <= most, name


def test_it_says_how_it_was_made(small) -> None:
    training = small.manifest.training
    assert training.command.split()[:4] == ["python", "-m", "trainer", "cifar10-small"]
    assert len(training.commit) == 40
    assert training.seconds <= 150 * 60
    assert not Path(training.data.directory or "").is_absolute()
    text, preset = PRESETS["cifar10-small"]
    assert training.steps == sum(stage.steps for stage in preset.stages)
    accuracy = small.manifest.accuracy
    assert accuracy is not None
    assert f"{accuracy.robust:.1%}".replace("%", " %") in text


def test_its_report_is_of_this_bundle_and_travels_without_images(small) -> None:
    report = read_report(SMALL)
    assert report.subject.encoder_sha256 == small.manifest.files["encoder.onnx"]
    assert report.subject.index_sha256 == small.manifest.files["index.faiss"]
    assert report.subject.parameters <= 1.5e6
    assert report.attacked_images >= 1000
    assert report.clean.trials == 10_000
    assert report.examples
    assert all(example.clean_png is example.attacked_png is None for example in report.examples)
    assert not any(example.neighbour_pngs for example in report.examples)
    worst = {(t.norm, round(t.epsilon * 255)): t.robust for t in report.threats if t.knowledge == "bank known"}
    recorded = small.manifest.accuracy
    assert worst["linf", 4].value == pytest.approx(recorded.robust, abs=1e-6)
    assert json.loads((SMALL / "manifest.json").read_text())["threat_model"] == {"norm": "linf", "epsilon": 4 / 255}


def cifar10_test(shared_data: Path, shards: int) -> tuple[np.ndarray, np.ndarray]:
    """The first test images and their labels, 125 a shard."""
    with zipfile.ZipFile(shared_data / "cifar10" / "test.zip") as archive:
        strips = []
        for name in sorted(archive.namelist())[:shards]:
            with archive.open(name) as file:
                strips.append(np.asarray(Image.open(file).convert("RGB")).reshape(-1, 32, 32, 3))
    images = np.concatenate(strips)
    return images, np.load(shared_data / "cifar10" / "labels.npz")["test"][: len(images)]


def test_it_is_as_accurate_as_it_says(small, shared_data) -> None:
    """On the first test images: within four standard deviations of the share that was measured on all 10,000."""
    images, labels = cifar10_test(shared_data, 4)
    answers = small.classifier().classify(images)
    stated = small.manifest.accuracy.clean
    assert abs(np.mean(answers.labels == labels) - stated) < 4 * math.sqrt(stated * (1 - stated) / len(images))


@pytest.mark.slow
def test_it_answers_as_it_did_when_it_was_shipped(small, shared_data) -> None:
    """All 10,000 labels, but for the few that the last digits of another CPU may change."""
    images, labels = cifar10_test(shared_data, 80)
    classify = small.classifier().classify
    answered = np.concatenate([classify(images[row : row + 256]).labels for row in range(0, len(images), 256)])
    then = np.load(Path(__file__).with_name("cifar10_small_labels.npz"))["labels"]
    assert len(answered) == len(then) == 10_000
    assert (answered != then).sum() <= 5
    assert abs((answered == labels).sum() - read_report(SMALL).clean.successes) <= 5


SPEAKERS = BUNDLES / "fsdd-speakers"


@pytest.fixture(scope="module")
def speakers() -> Bundle:
    return Bundle.open(SPEAKERS)


def test_the_bundle_of_speakers_is_small_and_travels_with_its_licence_and_without_audio(speakers) -> None:
    files = [path for path in SPEAKERS.rglob("*") if path.is_file()]
    assert {str(path.relative_to(SPEAKERS)) for path in files} == {*speakers.manifest.files, "manifest.json"}
    assert sum(path.stat().st_size for path in files) < 2e6
    assert "CC BY-SA 4.0" in (SPEAKERS / "LICENSE.txt").read_text()
    assert not any(path.read_bytes().startswith(b"RIFF") for path in files)
    manifest = speakers.manifest
    assert (manifest.input.kind, len(manifest.class_names)) == ("speech", 6)
    assert len(manifest.training.commit) == 40
    for data in (manifest.training.data, manifest.index.data):
        assert not Path(data.directory or "").is_absolute()
    assert manifest.calibration.unknown_above is not None
    assert manifest.threat_model is None
    report = SpeechReport.model_validate_json((SPEAKERS / DATA).read_bytes())
    assert report.subject.encoder_sha256 == manifest.files["encoder.onnx"]
    assert report.subject.index_sha256 == manifest.index_sha256


def test_the_bundle_of_speakers_answers_as_when_it_was_built(speakers) -> None:
    canary = speakers.canary_set
    answers = speakers.classifier().classify(canary.images)
    np.testing.assert_allclose(answers.embeddings, canary.embeddings, atol=1e-3)
    recorded = np.array([canary.class_names[label] for label in canary.answers])
    found = np.array([speakers.class_names[label] for label in answers.labels])
    assert (found == recorded).mean() > 0.97
