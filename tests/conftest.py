from pathlib import Path

import pytest
from hypothesis import settings

# Hypothesis fails an example that takes longer than 200 ms. On a machine with other work any example may.
settings.register_profile("holdfast", deadline=None)
settings.load_profile("holdfast")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data sets kept beside the repository; tests that need them skip where they are absent."""
    folder = Path(__file__).parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real data sets are not here ({folder})")
    return folder
