"""Callers that ask as fast as they are answered, from one process that does as little as it can for each call.

Requests are serialised beforehand and replies are not parsed: what is measured is the server, and on a small machine every
microsecond here is taken from it.

    python -m bench.load --address HOST:PORT --callers 64 --seconds 5
    python -m bench.load --address HOST:PORT --images 32 --connections 16
"""

import argparse
import asyncio
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import uvloop
from numpy.typing import NDArray

from holdfast.flags import positive, whole_number
from holdfast.protos.holdfast.v1 import holdfast_pb2, image_pb2

CLASSIFY = "/holdfast.v1.HoldfastService/Classify"
INFO = "/holdfast.v1.HoldfastService/GetModelInfo"
WARM_SECONDS = 0.5


@dataclass(frozen=True)
class Load:
    """What a run of calls came to. `cpu` is this process's, in seconds; latencies are in milliseconds."""

    calls: int
    failed: int
    seconds: float
    cpu: float
    p50: float
    p99: float


def raw_requests(
    shape: tuple[int, int, int], count: int = 256, images: int = 1, pixels: NDArray[np.uint8] | None = None
) -> list[bytes]:
    """Serialised Classify calls of so many raw images each; `count` is of images in all, rounded up to whole calls.

    They are noise, or the first of `pixels`, uint8 [n, *shape].
    """
    calls = -(-count // images)
    noise = np.random.default_rng(0).integers(0, 256, (calls, images, *shape), dtype=np.uint8)
    if pixels is not None:
        noise = np.resize(pixels, noise.shape)

    def image(pixels: NDArray[np.uint8]) -> image_pb2.Image:
        raw = image_pb2.RawImage(data=pixels.tobytes(), shape=shape, dtype=image_pb2.DATA_TYPE_UINT8)
        return image_pb2.Image(raw=raw)

    return [holdfast_pb2.ClassifyRequest(images=map(image, call)).SerializeToString() for call in noise]


async def drive(
    address: str,
    requests: Sequence[bytes],
    *,
    callers: int,
    connections: int = 1,
    seconds: float = float("inf"),
    calls: int | None = None,
) -> Load:
    """Runs `callers` callers until `seconds` have passed or `calls` were begun; failures are counted, not raised.

    They share `connections` connections. A server of several processes spreads connections over them, and not calls.
    """
    latencies: list[float] = []
    failures: Counter[str] = Counter()
    left = iter(range(sys.maxsize if calls is None else calls))
    async with AsyncExitStack() as stack:
        # By default all channels of a process to one address are one connection.
        own = [("grpc.use_local_subchannel_pool", 1)]
        channels = [await stack.enter_async_context(grpc.aio.insecure_channel(address, own)) for _ in range(connections)]
        methods: list[Any] = [channel.unary_unary(CLASSIFY) for channel in channels]
        end = time.perf_counter() + seconds

        async def caller(call: Any) -> None:
            for number in left:
                began = time.perf_counter()
                if began >= end:
                    return
                try:
                    await call(requests[number % len(requests)])
                except grpc.aio.AioRpcError as error:
                    failures[error.code().name] += 1
                latencies.append(time.perf_counter() - began)

        cpu, started = _cpu(), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(callers):
                group.create_task(caller(methods[number % connections]))
        spent, used = time.perf_counter() - started, _cpu() - cpu
    p50, p99 = np.percentile(latencies, (50, 99)) * 1e3 if latencies else (0.0, 0.0)
    return Load(len(latencies), failures.total(), spent, used, float(p50), float(p99))


async def input_shape(address: str) -> tuple[int, int, int]:
    """Height, width and channels of what the served model looks at."""
    async with grpc.aio.insecure_channel(address) as channel:
        info: Any = channel.unary_unary(INFO)
        reply = await info(b"")
    shape = holdfast_pb2.GetModelInfoResponse.FromString(reply).input
    return shape.height, shape.width, shape.channels


async def _measure(address: str, options: argparse.Namespace) -> Load:
    pixels = None if options.pixels is None else np.load(options.pixels)
    count = 256 if pixels is None else max(256, len(pixels))
    requests = raw_requests(await input_shape(address), count, options.images, pixels)
    crowd = {"callers": options.callers, "connections": options.connections}
    await drive(address, requests, **crowd, seconds=WARM_SECONDS)
    return await drive(address, requests, **crowd, seconds=options.seconds)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> int:
    """Loads one server and prints one line of JSON. Returns 0 where no call failed, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--address", required=True, help="host:port of the server")
    parser.add_argument("--callers", type=whole_number(1), default=64, help="concurrent callers (default: %(default)s)")
    parser.add_argument("--connections", type=whole_number(1), default=1, help="that they share (default: %(default)s)")
    parser.add_argument("--images", type=whole_number(1), default=1, help="in each call (default: %(default)s)")
    parser.add_argument("--seconds", type=positive, default=5.0, help="how long to measure (default: %(default)s)")
    parser.add_argument(
        "--pixels", type=Path, metavar="FILE", help="npy of uint8 [n, height, width, 3] to ask for, in place of noise"
    )
    options = parser.parse_args()
    load = uvloop.run(_measure(options.address, options))
    print(json.dumps(asdict(load)))
    return 0 if load.failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
