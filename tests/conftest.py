import gc
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

from tests.threads import left_since

# Hypothesis fails an example that takes longer than 200 ms. On a machine with other work any example may.
settings.register_profile("holdfast", deadline=None)
settings.load_profile("holdfast")

ROOT = Path(__file__).parents[1]


LONG = (
    "tests/server/test_milvus.py",
    "tests/server/workers/test_processes.py",
    "tests/holdfast/evaluation/test_cli.py",
    "tests/holdfast/evaluation/test_pipeline.py",
    "tests/end_to_end",
    "tests/trainer/test_cli.py",
    "tests/bench/test_benches.py",
    "tests/server/test_draining.py",
    "tests/server/api/page/test_browser.py",
    "tests/server/telemetry/test_traces.py",
    "tests/index_build/adapting/test_sharded.py",
    "tests/trainer/export",
    "tests/trainer/test_resume.py",
    "tests/server/versions",
)
"""What takes longest, in few tests: it comes first, so that no process of tests is left with it when the others have ended."""


def pytest_configure(config: pytest.Config) -> None:
    """Have pytest-xdist hand out files in the order of collection, not by their numbers of tests."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order files: long ones first, then those of many tests."""
    tests = Counter(item.path for item in items)
    long = {ROOT / name: place for place, name in enumerate(LONG)}

    def turn(item: pytest.Item) -> tuple[int, int, Path]:
        places = [long[path] for path in (item.path, *item.path.parents) if path in long]
        return min(places, default=len(long)), -tests[item.path], item.path

    items.sort(key=turn)


def pytest_collection_finish() -> None:
    """Have the garbage collector pass over what lives to the end, and torch read its table of operators once.

    Both are looked through again and again otherwise: at each collection, and twice for each encoder that is exported.
    """
    gc.collect()
    gc.freeze()
    if "torch" in sys.modules:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        ONNXRegistry.from_torchlib = staticmethod(cache(ONNXRegistry.from_torchlib))  # type: ignore[method-assign]


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
