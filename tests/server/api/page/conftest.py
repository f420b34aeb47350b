from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.bundles import COLOURS
from tests.server.api.admin import token_file
from tests.server.api.page.doubtful import HOSTILE, ServePage
from tests.server.running import LoopThread, Served, start
from tests.server.tiny import write_bundle


@pytest.fixture(scope="session")
def hostile_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red is called by a name that no page must run."""
    directory = tmp_path_factory.mktemp("bundle") / "tiny"
    names = [HOSTILE, *list(COLOURS)[1:]]
    write_bundle(directory, colours=dict(zip(names, COLOURS.values(), strict=True)))
    return directory


@pytest.fixture
def serve_page(hostile_bundle: Path, loop_thread: LoopThread, tmp_path: Path) -> Iterator[ServePage]:
    """Starts a server with a page, a store and the tokens of olga and rita."""
    with ExitStack() as stack:

        def serve(**settings: Any) -> Served:
            tokens = token_file(tmp_path / "tokens")
            asked = {"page_port": 0, "admin_port": 0, "admin_token_file": tokens, "store": tmp_path / "store"}
            return start(stack, loop_thread, hostile_bundle, **(asked | {"keep_images": True} | settings))

        yield serve


@pytest.fixture(scope="module")
def paged(hostile_bundle: Path, loop_thread: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for all tests of a module that leave it as it was."""
    folder = tmp_path_factory.mktemp("page")
    tokens = token_file(folder / "tokens")
    with ExitStack() as stack:
        asked = {"page_port": 0, "admin_port": 0, "admin_token_file": tokens, "store": folder / "store"}
        yield start(stack, loop_thread, hostile_bundle, **asked)
