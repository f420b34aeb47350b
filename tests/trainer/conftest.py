from pathlib import Path

import pytest

from holdfast.trainer.config import TrainConfig
from holdfast.trainer.cost import roofline
from tests.exported import digits, encoder, exported, exported_half
from tests.trainer.tiny_runs import two_stages

__all__ = ["digits", "encoder", "exported", "exported_half", "two_stage_run"]


@pytest.fixture(autouse=True)
def quick_roofline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second for each dry run that a test makes, otherwise."""
    monkeypatch.setattr(roofline, "MEASURE_S", 0.02)


@pytest.fixture
def two_stage_run(tmp_path: Path) -> TrainConfig:
    """Nine steps in two stages, in a folder of its own."""
    return two_stages(tmp_path / "run")
