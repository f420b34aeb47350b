from dataclasses import replace
from pathlib import Path

import pytest

from bench.synthetic import images, write_bundle
from holdfast.bundle.calibration_set import CalibrationSet
from holdfast.server.core.snapshot import ModelSnapshot


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> ModelSnapshot:
    bundle = write_bundle(Path(tmp_path_factory.mktemp("detectors")) / "bundle")
    pixels, labels = images(50, seed=3)
    held_out = CalibrationSet(bundle.encoder.embed(pixels), labels, tuple(map(str, range(len(labels)))))
    return replace(ModelSnapshot.of(bundle, version=1), load_calibration=lambda: held_out)
