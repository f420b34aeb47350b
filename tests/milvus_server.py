"""A real Milvus of one process, from the wheel `milvus`, on loopback; it can be stopped, paused and started again."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PEER_PORT = 2380  # of the etcd inside, which no setting of the wheel changes


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class MilvusProcess:
    """Its data lie in `directory`, so what is started again has what was there before."""

    def __init__(self, directory: Path) -> None:
        self._directory, self.port = directory, free_port()
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        # The wheel's own command in a process group of its own: it starts the server, whose pid it does not tell.
        command = [
            sys.executable,
            "-c",
            "import milvus; milvus.main()",
            "--data",
            str(self._directory),
            "--proxy-port",
            str(self.port),
        ]
        self._process = subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self._directory
        )
        self._wait()

    def stop(self) -> None:
        """End it, as a machine that fails does."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def pause(self) -> None:
        """Connections stay, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, which: signal.Signals) -> None:
        os.killpg(self._process.pid, which)

    def _wait(self) -> None:
        from pymilvus import MilvusClient
        from pymilvus.exceptions import MilvusException

        give_up = time.monotonic() + 90
        while True:
            assert self._process.poll() is None, "Milvus ended while it started"
            try:
                client = MilvusClient(f"http://{self.address}", timeout=2, dedicated=True)
                client.list_collections(timeout=2)
                client.close()
            except MilvusException:
                assert time.monotonic() < give_up, "Milvus did not start"
                time.sleep(0.1)
            else:
                return


@contextmanager
def running_milvus(directory: Path) -> "Iterator[MilvusProcess]":
    """One server; skips where its wheel is not installed, or its fixed port is taken by another."""
    if importlib.util.find_spec("milvus") is None:
        pytest.skip("the wheel of a Milvus server is not installed: pip install milvus")
    try:
        with socket.create_server(("127.0.0.1", PEER_PORT)):
            pass
    except OSError:
        pytest.skip(f"port {PEER_PORT} is taken, and a Milvus of one process needs it")
    server = MilvusProcess(directory)
    try:
        yield server
    finally:
        server.stop()
