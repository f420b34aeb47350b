from pathlib import Path

import pytest

from tests import kinds
from tests.holdfast.bundle.tiny import write_bundle


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


@pytest.fixture(params=kinds.KINDS)
def of_each_kind(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same bundle, once for each kind of index."""
    kinds.register(monkeypatch)
    return write_bundle(tmp_path / "bundle", kind=request.param)
