from pathlib import Path

import pytest

from tests.holdfast.bundle.tiny import write_bundle


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")
