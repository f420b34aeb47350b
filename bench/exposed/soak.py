"""Whether a server stays as large as it was while strangers come and go, for half an hour.

Every connection is new and lives for a few calls: of one image, of many, cut off, with neighbours, as streams. Some callers
leave before the answer, set a deadline that is too short, hang up in the middle of a stream, say nothing at all, or send what
is not HTTP/2. After a first part that fills caches and thread pools, resident memory, open files and threads of all of the
server's processes are read until the end. No call may end as an unforeseen error, and the last tenth's memory is compared with
the first tenth's.

    python -m bench.exposed.soak --bundle DIR [--minutes 30] [--callers 16] [--json FILE] [-- flags of the server]
"""

import argparse
import asyncio
import contextlib
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import uvloop

from bench.harness.environment import restart_with_one_thread
from bench.harness.report import Target, run_benchmark, show, write_json
from bench.harness.server_process import Server, running_server
from bench.load import CLASSIFY
from bench.memory import mixture
from holdfast.bundle.reader import read_manifest
from holdfast.console import track
from holdfast.flags import positive, whole_number
from holdfast.protos.holdfast.v1 import holdfast_pb2

GROWN = 1.03
WARM_SHARE = 0.1
"""Of the time, before the first reading."""
READINGS = 100
SILENT_S = 0.2
STREAM = "/holdfast.v1.HoldfastService/ClassifyStream"
UNFORESEEN = {"INTERNAL", "UNKNOWN", "UNIMPLEMENTED", "DATA_LOSS"}
GARBAGE = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
)


@dataclass
class Soak:
    """What was read of the server, and how the calls ended.

    Attributes:
        resident: bytes, by time.
        files: open file descriptors, by time.
        ended: calls by status code, and connections that made none by what they did.

    """

    resident: list[float] = field(default_factory=list)
    files: list[float] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)

    @property
    def growth(self) -> float:
        """Memory of the last tenth of the readings over that of the first."""
        tenth = max(1, len(self.resident) // 10)
        return float(np.mean(self.resident[-tenth:]) / np.mean(self.resident[:tenth]))

    @property
    def unforeseen(self) -> int:
        """Calls that ended as no caller should see."""
        return sum(count for code, count in self.ended.items() if code in UNFORESEEN)


class Strangers:
    """Callers that come, do one thing, and go."""

    def __init__(self, address: str, requests: Sequence[bytes], ended: Counter[str]) -> None:
        self._address, self._requests, self._ended = address, requests, ended
        self._random = random.Random(0)
        self._visits: tuple[Callable[[grpc.aio.Channel], Awaitable[None]], ...] = (
            self._ask,
            self._ask,
            self._ask,
            self._leave,
            self._hurry,
            self._stream,
            self._hang_up,
        )

    async def visit(self) -> None:
        """One connection, from its beginning to its end."""
        if self._random.random() < 0.1:
            await self._without_calls()
            return
        own = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self._address, own) as channel:
            try:
                await self._random.choice(self._visits)(channel)
            except grpc.aio.AioRpcError as error:
                self._ended[error.code().name] += 1
            except asyncio.CancelledError:
                self._ended["left"] += 1

    def _call(self, channel: grpc.aio.Channel, **how: float) -> Any:
        method: Any = channel.unary_unary(CLASSIFY)
        return method(self._random.choice(self._requests), **how)

    async def _ask(self, channel: grpc.aio.Channel) -> None:
        for _ in range(self._random.randint(1, 8)):
            await self._call(channel)
            self._ended["OK"] += 1

    async def _leave(self, channel: grpc.aio.Channel) -> None:
        call = self._call(channel)
        await asyncio.sleep(self._random.random() * 0.02)
        call.cancel()
        await call

    async def _hurry(self, channel: grpc.aio.Channel) -> None:
        await self._call(channel, timeout=self._random.random() * 0.03)
        self._ended["OK"] += 1

    async def _stream(self, channel: grpc.aio.Channel) -> None:
        replies = self._streamed(channel, self._random.randint(1, 12))
        async for _ in replies:
            self._ended["streamed"] += 1

    async def _hang_up(self, channel: grpc.aio.Channel) -> None:
        replies = self._streamed(channel, 50)
        await asyncio.sleep(self._random.random() * 0.02)
        replies.cancel()
        self._ended["left a stream"] += 1

    def _streamed(self, channel: grpc.aio.Channel, messages: int) -> Any:
        async def requests() -> Any:
            for number in range(messages):
                images = holdfast_pb2.ClassifyRequest.FromString(self._random.choice(self._requests)).images
                yield holdfast_pb2.ClassifyStreamRequest(sequence=number, images=images).SerializeToString()

        method: Any = channel.stream_stream(STREAM)
        return method(requests())

    async def _without_calls(self) -> None:
        """A connection that says nothing, or something else than gRPC."""
        host, port = self._address.rsplit(":", 1)
        said = self._random.choice((b"", *GARBAGE))
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(said)
            await asyncio.sleep(SILENT_S)
            writer.close()
        self._ended["no call"] += 1


def measure(bundle: Path, minutes: float, callers: int, flags: Sequence[str]) -> Soak:
    """Let so many strangers at a time come and go, and read the server's size meanwhile."""
    requests = mixture(read_manifest(bundle).input.shape)
    soak = Soak()
    with running_server(bundle, *flags) as server:
        uvloop.run(_soak(server, requests, soak, minutes * 60, callers))
    return soak


async def _soak(server: Server, requests: Sequence[bytes], soak: Soak, seconds: float, callers: int) -> None:
    strangers, end = Strangers(server.address, requests, soak.ended), time.monotonic() + seconds

    async def come_and_go() -> None:
        while time.monotonic() < end:
            await strangers.visit()

    async def read() -> None:
        await asyncio.sleep(seconds * WARM_SHARE)
        for _ in track(range(READINGS), description="soaking"):
            await asyncio.sleep(seconds * (1 - WARM_SHARE) / READINGS)
            size = await asyncio.to_thread(server.scrape)
            soak.resident.append(size["process_resident_memory_bytes"])
            soak.files.append(size["process_open_fds"])

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(come_and_go())
        group.create_task(read())


def main() -> int:
    """Runs the benchmark. Returns 0 where the server stayed as large as it was and nothing unforeseen happened, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.exposed.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="bundle to serve; the demo leaves one")
    parser.add_argument("--minutes", type=positive, default=30.0, help="in all (default: %(default)s)")
    parser.add_argument("--callers", type=whole_number(1), default=16, help="connections at a time (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("flags", nargs="*", help="more flags of python -m server, after --")
    options = parser.parse_args()
    restart_with_one_thread("bench.exposed.soak")
    soak = measure(options.bundle, options.minutes, options.callers, options.flags)
    target = Target("memory, last tenth / first", soak.growth, GROWN, at_least=False)
    rows = [[f"ended: {how}", f"{count:,}"] for how, count in soak.ended.most_common()]
    for part in range(0, len(soak.resident), max(1, len(soak.resident) // 10)):
        at = options.minutes * (WARM_SHARE + (1 - WARM_SHARE) * (part + 1) / len(soak.resident))
        rows.append([f"after {at:.1f} min", f"{soak.resident[part] / 2**20:.1f} MiB, {soak.files[part]:.0f} files"])
    show(f"{options.bundle}, {options.callers} strangers at a time", ["", ""], rows, target)
    if options.json:
        values: dict[str, object] = {"minutes": options.minutes, "ended": dict(soak.ended), "unforeseen": soak.unforeseen}
        mib = [round(size / 2**20, 1) for size in soak.resident]
        write_json(options.json, "soak", values | {"resident_mib": mib, "files": soak.files}, target=target)
    return 0 if target.met and not soak.unforeseen else 1


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
