"""python -m holdfast.server.decoding HEIGHT WIDTH SHORTEST MAX_PIXELS MEMORY RESAMPLE: decodes images that come over a socket.

The socket is standard input. SHORTEST is 0 where nothing is cropped.
A codec that crashes, or that an image keeps busy for too long, ends this process and no other. It holds no model, no
credential and no connection of a caller, writes no file, and ends when its socket does.
"""

import os
import resource
import signal
import socket
import sys
import time
from typing import cast

import numpy as np
from PIL import JpegImagePlugin, PngImagePlugin, WebPImagePlugin  # noqa: F401 - loaded now, and not with the first image

from holdfast.errors import ImageError
from holdfast.model.images import pixels
from holdfast.model.images.fitting import Fitting, Resample, fit
from holdfast.model.speech.recordings import decode_recording
from holdfast.server.decoding.wire import PIXELS, READY, REFUSED, REPLY, REQUEST, DecodeTask, shape_of

NICENESS = 19
"""Behind the server's own threads, which answer all other callers: at 10, costly pictures made those wait half longer."""


def main() -> int:
    """Exit status: 0 once the server has closed the socket."""
    height, width, shortest, max_pixels, memory = map(int, sys.argv[1:6])
    fitting = Fitting(height, width, cast("Resample", sys.argv[6]), shortest or None)
    end = socket.socket(fileno=os.dup(0))
    _confine(memory)
    try:
        end.sendall(REPLY.pack(READY, 0.0, 0))
        while request := _receive(end, REQUEST.size):
            limit, length, *sides, recorded = REQUEST.unpack(request)
            task = DecodeTask(bytes(_receive(end, length)), shape_of(*sides), recorded)
            kind, seconds, body = _answer(task, fitting, max_pixels, limit)
            end.sendall(REPLY.pack(kind, seconds, len(body)))
            end.sendall(body)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the server is gone, or does not wait any longer
    return 0


def _confine(memory: int) -> None:
    """Take what a faulty codec could do harm with: `memory` is of bytes beyond what the process has now."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # meant for the server, which decides when this process ends
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends it, whatever it is at
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold a caller's image
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform == "linux":
        with open("/proc/self/statm") as statm:  # noqa: PTH123 - pathlib is not loaded here
            most = int(statm.read().split()[0]) * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _receive(end: socket.socket, length: int) -> bytearray:
    """So many bytes; none where the socket has ended before."""
    data = bytearray(length)
    view, got = memoryview(data), 0
    while got < length:
        more = end.recv_into(view[got:])
        if not more:
            return bytearray()
        got += more
    return data


def _answer(task: DecodeTask, fitting: Fitting, max_pixels: int, limit: float) -> tuple[int, float, bytes]:
    """Kind, CPU seconds and body of the reply. Does not return where it takes more than `limit` of them."""
    began = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        fitted = _decoded(task, fitting, max_pixels).tobytes()
    except ImageError as error:
        return REFUSED, time.process_time() - began, f"{error.field}\n{error.reason}".encode(errors="replace")
    except MemoryError:
        refusal = f"{task.field}\ntakes more memory to decode than there is"
        return REFUSED, time.process_time() - began, refusal.encode()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return PIXELS, time.process_time() - began, fitted


def _decoded(task: DecodeTask, fitting: Fitting, max_pixels: int) -> pixels.Pixels:
    """uint8 [H, W, 3]; [windows, H, W, 3] of a recording, which was held against all limits before it came here."""
    if task.recorded:
        return decode_recording(task.data, max_seconds=np.inf, max_bytes=len(task.data))
    if task.shape:
        return fit(np.frombuffer(task.data, dtype=np.uint8).reshape(task.shape), fitting)
    return fit(pixels.decode(task.data, pixels.read_header(task.data), fitting.whole, max_pixels), fitting)


if __name__ == "__main__":
    sys.exit(main())
