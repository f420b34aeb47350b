"""A server over a store, in a process that is made to be killed."""

import json
import subprocess
import sys
import time
from pathlib import Path

import grpc

from holdfast.errors import HoldfastError
from holdfast.protos.holdfast.admin.v1.admin_pb2_grpc import AdminServiceStub

START_SECONDS = 60.0


class KilledServer:
    """Starts, or raises HoldfastError with the end of the server's log.

    Attributes:
        stub: of its admin service.
        channel: to it.
        start_seconds: from the command to a server that answers.

    """

    def __init__(self, bundle: Path, store: Path, scratch: Path, *flags: str) -> None:
        ports, log = scratch / "ports.json", scratch / "log"
        ports.unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "holdfast",
            "serve",
            "--bundle",
            str(bundle),
            "--store",
            str(store),
            "--admin-insecure",
        ]
        command += ["--port", "0", "--metrics-port", "0", "--admin-port", "0", "--port-file", str(ports), *flags]
        began = time.monotonic()
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        while not ports.exists():
            if self._process.poll() is not None or time.monotonic() > began + START_SECONDS:
                self.kill()
                raise HoldfastError(f"the server did not start: {log.read_text(errors='replace').strip()[-2000:]}")
            time.sleep(0.01)
        self.start_seconds = time.monotonic() - began
        self.channel = grpc.insecure_channel(json.loads(ports.read_text())["admin"])
        self.stub = AdminServiceStub(self.channel)

    def kill(self) -> None:
        """SIGKILL, and the end of it."""
        self._process.kill()
        self._process.wait()
        if hasattr(self, "channel"):
            self.channel.close()
