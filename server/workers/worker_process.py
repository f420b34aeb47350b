"""One worker process, as the engine sees it."""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import holdfast
from holdfast.server.workers.control import MOST_BYTES, Begin, decode, encode
from holdfast.server.workers.frames import Link
from holdfast.server.workers.heartbeat import Heartbeat
from holdfast.server.workers.samples import Samples
from holdfast.server.workers.worker_connection import WorkerConnection

log = logging.getLogger(__name__)

EXIT_TIMEOUT_S = 5.0
"""Seconds that a process has to end once its control link is closed."""


class WorkerProcess:
    """Starts a worker and keeps its links; `over` is set when it is gone or as good as that.

    Attributes:
        ready: set once it is warm; a result of False: it never will be.
        failure: why it could not become ready, as it reported it; "" where it reported nothing.
        finished: whether it ended after a drain with all its calls answered.
        serving: whether its health checks say SERVING, as it reported.
        silent: whether it was killed because nothing was heard of it.

    """

    def __init__(self, begin: Begin, connection: WorkerConnection) -> None:
        self.name, self._begin, self._connection = begin.name, begin, connection
        self._control = Link(f"the control link of {self.name}", MOST_BYTES, self._receive, self._lost)
        self._heartbeat = Heartbeat(begin.settings.worker_timeout, self._beat, self._silence)
        self._starting: asyncio.TimerHandle | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._scrapes: dict[int, asyncio.Future[Samples]] = {}
        self._numbers = count()
        self.ready: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.over = asyncio.Event()
        self.failure, self.finished, self.silent = "", False, False
        self.serving = False
        self.began = time.monotonic()

    async def start(self) -> None:
        """Start the process and send it its settings; where there can be none, it is over at once."""
        data, far_data = socket.socketpair()
        control, far_control = socket.socketpair()
        with far_data, far_control:
            try:
                self._process = _spawn(far_data, far_control)
            except OSError as error:  # no memory, no more processes
                data.close()
                control.close()
                self.failure = f"cannot start a process: {error}"
                self._lost()
                return
        await self._connection.open(data)
        await self._control.open(control)
        self._control.send(self._begin.encode())
        # It hears and says nothing before its modules are loaded.
        patience = self._begin.settings.worker_start_timeout
        self._starting = asyncio.get_running_loop().call_later(patience, self._end_silent, f"for {patience:g} s of its start")

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid if self._process is not None else 0

    @property
    def was_ready(self) -> bool:
        """Whether it has been warm."""
        return self.ready.done() and self.ready.result()

    def drain(self) -> None:
        """Ask it to finish its calls and to end; one that is not warm is not waited for."""
        self._control.send(encode(drain=True))
        if not self.ready.done() and self._process is not None:
            self._process.terminate()  # a drain too, but for one that has not even begun to listen

    async def scrape(self, within: float) -> Samples:
        """Its metrics now; none where it does not send them in `within` seconds, or is not warm yet."""
        if not self.was_ready or self.over.is_set():
            return []
        number = next(self._numbers)
        samples: asyncio.Future[Samples] = asyncio.get_running_loop().create_future()
        self._scrapes[number] = samples
        self._control.send(encode(scrape=number))
        try:
            async with asyncio.timeout(within):
                return await samples
        except TimeoutError:
            return []
        finally:
            del self._scrapes[number]

    async def reap(self) -> str:
        """Wait for its end, and see to it where it takes too long. Returns how it ended, in words."""
        process = self._process
        if process is None:
            return "it was not started"
        try:
            status = await asyncio.to_thread(process.wait, EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            status = await asyncio.to_thread(process.wait)
        return f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()

    def _beat(self) -> None:
        self._control.send(encode(beat=True))

    def _silence(self, silent: bool) -> None:
        if silent:
            self._end_silent(f"for {self._begin.settings.worker_timeout:g} s")

    def _end_silent(self, how_long: str) -> None:
        self.failure, self.silent = f"it was silent {how_long}", True
        log.error("%s (process %d) is killed: %s, stopped or hanging", self.name, self.pid, self.failure)
        self.kill()

    def _receive(self, body: memoryview) -> None:
        message: dict[str, Any] = decode(body)
        if self._starting is not None:
            self._starting.cancel()
        self._heartbeat.start()
        self._heartbeat.heard()
        if "ready" in message and not self.ready.done():
            self.ready.set_result(True)
        elif "failed" in message:
            self.failure = str(message["failed"])
        elif "samples" in message:
            samples = self._scrapes.get(message["number"])
            if samples is not None and not samples.done():
                samples.set_result(message["samples"])
        elif "serving" in message:
            self.serving = bool(message["serving"])
        elif "drained" in message:
            self.finished = bool(message["drained"])

    def _lost(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
        self._heartbeat.stop()
        self.serving = False
        self._connection.close()
        if not self.ready.done():
            self.ready.set_result(False)
        for samples in self._scrapes.values():
            if not samples.done():
                samples.set_result([])
        self.over.set()


def _spawn(*ends: socket.socket) -> "subprocess.Popen[bytes]":
    """A fresh interpreter, not a fork: gRPC and CUDA do not survive one.

    Ctrl-C reaches every process of the terminal, and so may SIGHUP. The engine decides when a worker ends and when another
    model is loaded, so a worker begins with both signals held back, and ignores them as soon as it can.
    """
    numbers = [end.fileno() for end in ends]
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        return subprocess.Popen(  # noqa: S603 - ourselves
            # -P: a module of the user's that lies in the current folder is not loaded in the place of ours.
            [sys.executable, "-P", "-m", "holdfast.server.workers", *map(str, numbers)],
            pass_fds=numbers,
            stdin=subprocess.DEVNULL,
            env=_environment(os.environ),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The engine's, with the folder that its own `holdfast` was loaded from before all others."""
    ours = str(Path(holdfast.__file__).absolute().parents[1])
    # An empty entry would be the current folder.
    others = [folder for folder in inherited.get("PYTHONPATH", "").split(os.pathsep) if folder]
    # A worker computes nothing that BLAS could share among threads, and each of them would cost memory.
    return {**inherited, "PYTHONPATH": os.pathsep.join([ours, *others]), "OPENBLAS_NUM_THREADS": "1"}
