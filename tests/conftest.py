import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.threads import left_since

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


@pytest.fixture(scope="module", autouse=True)
def _nothing_goes_on() -> Iterator[None]:
    """Fail where a module leaves a thread behind. Servers and the like belong to a module at most."""
    before = threading.enumerate()
    yield
    assert left_since(before) == []
