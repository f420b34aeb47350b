from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.server.running import LoopThread, Served, start
from tests.server.tiny import write_bundle
from tests.server.versions.places import put

COLOURS = {"crimson": (200, 60, 60), "lime": (60, 200, 60), "navy": (60, 60, 200)}


@pytest.fixture(scope="session")
def second_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the tiny bundle, with other exemplars and other names of classes."""
    directory = tmp_path_factory.mktemp("bundle") / "second"
    write_bundle(directory, colours=COLOURS, seed=50, per_class=25, name="second")
    return directory


@pytest.fixture
def versions(tmp_path: Path, tiny_bundle: Path) -> Path:
    """A directory of one version, v1: the tiny bundle."""
    put(tiny_bundle, tmp_path / "versions", "v1")
    return tmp_path / "versions"


@pytest.fixture
def serve_versions(versions: Path, loop_thread: LoopThread) -> Iterator[Callable[..., Served]]:
    """Starts a server of `versions`, for one test."""

    with ExitStack() as stack:

        def serve(**settings: Any) -> Served:
            return start(stack, loop_thread, None, bundle_versions=versions, **({"watch_interval": 0.05} | settings))

        yield serve
