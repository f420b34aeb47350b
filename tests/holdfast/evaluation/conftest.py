import shutil

import pytest

from holdfast.attacks.losses import Margin
from holdfast.attacks.noise import Noise
from holdfast.evaluation import suites
from holdfast.evaluation.stages import curves
from holdfast.evaluation.suites import SuiteRow
from tests.exported import digits, encoder, exported, exported_half
from tests.holdfast.evaluation.short import RecordedAttack, Recorder

__all__ = ["digits", "encoder", "exported", "exported_half"]


@pytest.fixture
def bundle(exported, tmp_path):
    """A bundle that a test may write into."""
    return shutil.copytree(exported, tmp_path / "tiny")


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def short(monkeypatch, recorder):
    """Suites of three attacks and of one, which record what they are asked, and curves of two points."""
    return shorten(monkeypatch, recorder)


def shorten(monkeypatch, recorder):
    """As `short`, for as long as `monkeypatch` holds."""
    first, second = (RecordedAttack(Margin(tau), recorder=recorder) for tau in (0.05, 0.2))
    monkeypatch.setattr(suites, "BANK_KNOWN", (SuiteRow(lambda _: (first, second, Noise())),))
    monkeypatch.setattr(suites, "BANK_UNKNOWN", (SuiteRow(lambda _: (first,)),))
    monkeypatch.setattr(curves, "EPSILONS", {"linf": (0.0, 16 / 255), "l2": (0.0, 1.0)})
    return [str(first), str(second), str(Noise())]
