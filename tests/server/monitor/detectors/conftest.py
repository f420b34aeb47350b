from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.synthetic import write_bundle
from holdfast.bundle.calibration_set import CalibrationSet
from holdfast.server.core.snapshot import ModelSnapshot
from tests.server.monitor.detectors.watching import pictures


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> ModelSnapshot:
    """Its ordinary images are `pictures`."""
    bundle = write_bundle(Path(tmp_path_factory.mktemp("detectors")) / "bundle")
    held_out = CalibrationSet(bundle.encoder.embed(pictures(400, 12345)), np.zeros(400, np.int64), ("",) * 400)
    return replace(ModelSnapshot.of(bundle, version=1), load_calibration=lambda: held_out)
