"""One process that decodes for the server, as the server sees it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import holdfast
from holdfast.errors import ImageError
from holdfast.model.images.fitting import Fitting
from holdfast.model.images.pixels import Pixels
from holdfast.server.decoding.wire import PIXELS, READY, REPLY, DecodeTask

KEPT_VARIABLES = {"PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL", "TMPDIR"}


class DecoderConfig(NamedTuple):
    """What a process is started with.

    Attributes:
        fitting: how a picture becomes the encoder's input.
        max_pixels: as `decode_image` takes it.
        memory: bytes that it may take beyond what it starts with.

    """

    fitting: Fitting
    max_pixels: int
    memory: int

    def words(self) -> list[str]:
        """As the process is told."""
        height, width, resample, shortest = self.fitting
        return [*map(str, (height, width, shortest or 0, self.max_pixels, self.memory)), resample]


class DecoderProcess:
    """Started at once; `ready` once it has said so. Belongs to one event loop.

    Raises OSError where it cannot be started.
    """

    def __init__(self, config: DecoderConfig) -> None:
        self._size, self.ready = config.fitting.size, False
        near, far = socket.socketpair()
        self._near: socket.socket | None = near
        with far:
            try:
                self._process = _spawn(far, config)
            except OSError:
                near.close()
                raise
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def decode(
        self, tasks: Sequence[DecodeTask], limit: float
    ) -> AsyncGenerator[tuple[Pixels | ImageError, float], None]:
        """Each image's pixels, or what is wrong with it, and the CPU seconds that it took.

        Raises:
            ConnectionError, EOFError: the process has ended, over the first image that there is no reply for.

        """
        reader, writer = await self._streams()
        sending = asyncio.create_task(_send(writer, tasks, limit))
        try:
            if not self.ready:
                self.ready = REPLY.unpack(await reader.readexactly(REPLY.size))[0] == READY
            for task in tasks:
                kind, seconds, length = REPLY.unpack(await reader.readexactly(REPLY.size))
                body = await reader.readexactly(length)
                shape = (-1, *self._size, 3) if task.recorded else (*self._size, 3)
                yield (np.frombuffer(body, np.uint8).reshape(shape) if kind == PIXELS else _refusal(body)), seconds
        finally:
            sending.cancel()
            await asyncio.wait({sending})
            if not sending.cancelled():
                sending.exception()  # the reader has met the same end

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    async def ended(self) -> int:
        """Wait until it is gone, killing it where it is not. Returns its status, negative for the signal that ended it."""
        self.kill()
        self._close()
        return await asyncio.to_thread(self._process.wait)

    def discard(self) -> None:
        """End it and wait, without the event loop."""
        self.kill()
        self._close()
        self._process.wait()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        elif self._near is not None:
            self._near.close()

    async def _streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(sock=self._near, limit=2**18)
        return self._reader, self._writer


async def _send(writer: asyncio.StreamWriter, tasks: Sequence[DecodeTask], limit: float) -> None:
    for task in tasks:
        writer.write(task.header(limit))
        writer.write(task.data)
        await writer.drain()


def _refusal(body: bytes) -> ImageError:
    field, _, reason = body.decode(errors="replace").partition("\n")
    return ImageError(field, reason)


def describe_end(status: int) -> str:
    """How a process ended, in words."""
    return f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"


def _spawn(end: socket.socket, config: DecoderConfig) -> "subprocess.Popen[bytes]":
    """A fresh interpreter, not a fork: gRPC does not survive one.

    Signals of the terminal are held back until it ignores them. Of the environment it gets what an interpreter needs, and
    nothing that may be a secret.
    """
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    ours = str(Path(holdfast.__file__).absolute().parents[1])
    others = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    environment = {name: value for name, value in os.environ.items() if name in KEPT_VARIABLES}
    environment |= {"PYTHONPATH": os.pathsep.join([ours, *others]), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        return subprocess.Popen(  # noqa: S603 - ourselves
            # -P: a module of the user's that lies in the current folder is not loaded in the place of ours.
            [sys.executable, "-P", "-m", "holdfast.server.decoding", *config.words()],
            stdin=end.fileno(),
            stdout=subprocess.DEVNULL,
            env=environment,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
