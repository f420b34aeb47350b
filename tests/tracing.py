"""The system calls of a process, seen and changed by strace: what waits for the disk, and what a failing disk makes of it."""

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SYNCED = re.compile(r"f(?:data)?sync\(\d+<([^>]+)>")


@contextmanager
def tracing(process: int, log: Path, *options: str) -> Iterator[None]:
    """Trace a process and its threads, into a log that is whole afterwards. Skips the test where that cannot be done.

    Args:
        process: its id.
        log: a line a call.
        options: of strace: which calls, and what becomes of them.

    """
    if shutil.which("strace") is None:
        pytest.skip("there is no strace here")
    command = ["strace", "-f", "-y", "-o", str(log), *options, "-p", str(process)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        try:
            said = tracer.stderr.readline()
            if "attached" not in said:
                pytest.skip(f"strace cannot be used here: {said.strip()}")
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=30)


def synced(log: Path) -> list[str]:
    """The files and directories that were waited for, in their order."""
    return SYNCED.findall(log.read_text())
