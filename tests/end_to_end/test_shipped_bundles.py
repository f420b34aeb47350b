"""The bundles that travel with the repository: whole, small enough, honest about themselves, and as good as they say."""

import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle import Bundle, Classifier
from trainer.presets import PRESETS

BUNDLES = Path(__file__).parents[2] / "bundles"
SMALL = BUNDLES / "cifar10-small"
CLEAN = 0.7865
"""Accuracy on all 10,000 test images."""
LARGEST = {"encoder.onnx": 6e6, "gradient.onnx": 6e6, "index.faiss": 14e6}


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
    _, preset = PRESETS["cifar10-small"]
    assert training.steps == sum(stage.steps for stage in preset.stages)


def test_it_is_as_accurate_as_it_says(small, shared_data) -> None:
    """On the first test images: within four standard deviations of the share that was measured on all 10,000."""
    with zipfile.ZipFile(shared_data / "cifar10" / "test.zip") as shard:
        strips = []
        for name in sorted(shard.namelist())[:4]:
            with shard.open(name) as file:
                strips.append(np.asarray(Image.open(file).convert("RGB")).reshape(-1, 32, 32, 3))
    images = np.concatenate(strips)
    labels = np.load(shared_data / "cifar10" / "labels.npz")["test"][: len(images)]
    answers = Classifier(small).classify(images)
    assert abs(np.mean(answers.labels == labels) - CLEAN) < 4 * math.sqrt(CLEAN * (1 - CLEAN) / len(images))
