from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.server.running import LoopThread, Process, Serve, Served, start
from tests.server.tiny import write_bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundle") / "tiny"
    write_bundle(directory)
    return directory


@pytest.fixture(scope="session")
def loop_thread() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture(scope="module")
def served(tiny_bundle: Path, loop_thread: LoopThread) -> Iterator[Served]:
    """One server for all tests of a module that leave it as it was."""
    with ExitStack() as stack:
        yield start(stack, loop_thread, tiny_bundle, reflection=True)


@pytest.fixture
def serve(tiny_bundle: Path, loop_thread: LoopThread) -> Iterator[Serve]:
    """Starts a server with other settings, for one test."""
    with ExitStack() as stack:
        yield lambda **settings: start(stack, loop_thread, tiny_bundle, **settings)


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    started: list[Process] = []
    yield started
    for process in started:
        process.discard()
