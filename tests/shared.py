"""What is made once for all tests, also where several processes run them."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that whoever needs it first fills, and nobody changes.

    Args:
        factory: of this process.
        name: of the folder, which stands for all that `make` depends on.
        make: writes into a folder that is not there yet.

    """
    own = factory.getbasetemp()
    # Those of pytest-xdist have a folder each in that of their run.
    place = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder, unfinished = place / "shared" / name, place / "unfinished" / name
    for each in (folder, unfinished):
        each.parent.mkdir(exist_ok=True)
    with unfinished.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            shutil.rmtree(unfinished, ignore_errors=True)
            make(unfinished)
            unfinished.rename(folder)
    return folder
