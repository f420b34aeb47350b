from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.server.running import LoopThread, Served, start


@pytest.fixture(scope="module")
def http(tiny_bundle: Path, loop_thread: LoopThread) -> Iterator[Served]:
    """One server with HTTP, for all tests of a module that leave it as it was."""
    with ExitStack() as stack:
        yield start(stack, loop_thread, tiny_bundle, http_port=0)
