"""A real Milvus of one process, from the wheel `milvus`, on loopback; it can be stopped, paused and started again."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.errors import HoldfastError

PEER_PORT = 2380
"""Of the etcd inside, which no setting of the wheel changes: one such server a machine."""

START_TIMEOUT_S = 120


class MilvusProcess:
    """Its data lie in `directory`, so what is started again has what was there before.

    Raises:
        HoldfastError: its wheel is not installed, its fixed port is taken, or it does not start.

    """

    def __init__(self, directory: Path) -> None:
        if importlib.util.find_spec("milvus") is None:
            raise HoldfastError("the wheel of a Milvus server is not installed: pip install milvus==2.3.5")
        if not _is_free(PEER_PORT):
            raise HoldfastError(f"port {PEER_PORT} is taken, and a Milvus of one process needs it")
        self._directory, self.port = directory, _free_port()
        self._process: subprocess.Popen[bytes]
        self.start()

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        # The wheel's own command, in a process group of its own: it starts the server, whose pid it does not tell.
        options = ["--data", str(self._directory), "--proxy-port", str(self.port)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", "import milvus; milvus.main()", *options],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._directory,
        )
        give_up = time.monotonic() + START_TIMEOUT_S
        while not _answers(self.address):
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise HoldfastError(f"Milvus did not start; its logs are in {self._directory}/logs")
            time.sleep(0.1)

    def stop(self) -> None:
        """End it at once, as a machine that fails does."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def pause(self) -> None:
        """Connections stay, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after a pause."""
        self._signal(signal.SIGCONT)

    def _signal(self, which: signal.Signals) -> None:
        os.killpg(self._process.pid, which)


@contextmanager
def running_milvus(directory: Path) -> Iterator[MilvusProcess]:
    """One server, ended afterwards. Raises as MilvusProcess does."""
    server = MilvusProcess(directory)
    try:
        yield server
    finally:
        server.stop()


def _answers(address: str) -> bool:
    from pymilvus import MilvusClient  # noqa: PLC0415 - slow to import, and only here
    from pymilvus.exceptions import MilvusException  # noqa: PLC0415

    # gRPC shares what it knows of an address: attempts while nobody listens make later ones wait ever longer.
    if _is_free(int(address.rpartition(":")[2])):
        return False
    try:
        client = MilvusClient(f"http://{address}", timeout=2, dedicated=True)
        client.list_collections(timeout=2)
        client.close()
    except MilvusException:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
