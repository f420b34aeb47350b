"""Callers who do not wait for answers: calls begin when they are due, however many are still open.

One process. Calls are due at random moments of a fixed rate, drawn beforehand. Each has a deadline that counts from the moment
it was due, and so do latencies: a server that answers late cannot make the load lighter, nor its figures better. What this
process is late itself is reported beside.

    python -m bench.overload.open_loop --address HOST:PORT --rate 500 --deadline 0.5 --seconds 5
"""

import argparse
import asyncio
import json
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

import grpc
import grpc.aio
import numpy as np
import uvloop
from numpy.typing import NDArray

from bench.load import CLASSIFY, input_shape, raw_requests
from holdfast.flags import positive, whole_number

REFUSED = {"RESOURCE_EXHAUSTED", "UNAVAILABLE"}
"""Statuses by which a server says that it will not even try."""


@dataclass(frozen=True)
class OpenLoad:
    """What became of the calls that were due in the measured seconds; latencies in milliseconds, from when a call was due.

    Attributes:
        offered, answered, refused, late, failed: calls; late ones got DEADLINE_EXCEEDED, failed ones any other error.
        seconds: that were measured; the warm-up before is in none of these figures.
        cpu: of this process in all, in seconds, over `wall` seconds.
        lag_p99: how much later than due this process began a call.

    """

    offered: int
    answered: int
    refused: int
    late: int
    failed: int
    seconds: float
    wall: float
    cpu: float
    lag_p99: float
    answered_p50: float
    answered_p99: float
    refused_p50: float
    refused_p99: float
    late_p50: float


@dataclass
class _Tally:
    """Latencies in seconds, by what became of a call."""

    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    lag: list[float] = field(default_factory=list)

    def add(self, code: str, seconds: float) -> None:
        """One call ended with this status."""
        kind = "answered" if code == "OK" else "late" if code == "DEADLINE_EXCEEDED" else "failed"
        getattr(self, "refused" if code in REFUSED else kind).append(seconds)


def due_times(rate: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """When calls are due, seconds from the start, ascending: a Poisson process of that rate."""
    rng = np.random.default_rng(seed)
    count = rng.poisson(rate * seconds)
    return np.sort(rng.uniform(0.0, seconds, count))


async def drive_open(
    address: str,
    requests: Sequence[bytes],
    *,
    rate: float,
    deadline: float,
    seconds: float,
    warm: float,
    connections: int,
    seed: int = 0,
) -> OpenLoad:
    """Calls for `warm` + `seconds`, so many a second, each to be answered within `deadline` seconds of when it is due."""
    tally, tasks = _Tally(), set[asyncio.Task[None]]()
    due = due_times(rate, warm + seconds, seed).tolist()
    async with AsyncExitStack() as stack:
        own = [("grpc.use_local_subchannel_pool", 1)]
        channels = [await stack.enter_async_context(grpc.aio.insecure_channel(address, own)) for _ in range(connections)]
        methods: list[Any] = [channel.unary_unary(CLASSIFY) for channel in channels]
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        cpu, began = _cpu(), time.perf_counter()

        async def call(number: int, at: float) -> None:
            counts, code = at >= began + warm, "OK"
            if counts:
                tally.lag.append(time.perf_counter() - at)
            try:
                left = max(at + deadline - time.perf_counter(), 1e-4)
                await methods[number % connections](requests[number % len(requests)], timeout=left)
            except grpc.aio.AioRpcError as error:
                code = error.code().name
            if counts:
                tally.add(code, time.perf_counter() - at)

        for number, after in enumerate(due):
            while (pause := began + after - time.perf_counter()) > 0:  # noqa: ASYNC110 - the clock is what is waited for
                await asyncio.sleep(pause)
            task = asyncio.create_task(call(number, began + after))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            if number % 8 == 0:
                await asyncio.sleep(0)  # where this process is late, what it has sent comes first
        while tasks:
            await asyncio.wait(tasks)
        wall, used = time.perf_counter() - began, _cpu() - cpu
    return _summary(tally, seconds, wall, used, deadline)


def _summary(tally: _Tally, seconds: float, wall: float, cpu: float, deadline: float) -> OpenLoad:
    # The deadline travels as a duration, and a server may begin to count it late: what is late by our clock is late.
    in_time = [each for each in tally.answered if each <= deadline]
    late = tally.late + [each for each in tally.answered if each > deadline]

    def percentile(values: Sequence[float], share: float) -> float:
        return float(np.percentile(values, share)) * 1e3 if values else 0.0

    return OpenLoad(
        offered=len(tally.lag),
        answered=len(in_time),
        refused=len(tally.refused),
        late=len(late),
        failed=len(tally.failed),
        seconds=seconds,
        wall=wall,
        cpu=cpu,
        lag_p99=percentile(tally.lag, 99),
        answered_p50=percentile(in_time, 50),
        answered_p99=percentile(in_time, 99),
        refused_p50=percentile(tally.refused, 50),
        refused_p99=percentile(tally.refused, 99),
        late_p50=percentile(late, 50),
    )


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _measure(options: argparse.Namespace) -> OpenLoad:
    requests = raw_requests(await input_shape(options.address), images=options.images)
    return await drive_open(
        options.address,
        requests,
        rate=options.rate,
        deadline=options.deadline,
        seconds=options.seconds,
        warm=options.warm,
        connections=options.connections,
        seed=options.seed,
    )


def main() -> int:
    """Loads one server and prints one line of JSON. Returns 0: calls that a server refuses are what is measured here."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.overload.open_loop", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--address", required=True, help="host:port of the server")
    parser.add_argument("--rate", type=positive, required=True, help="calls a second")
    parser.add_argument("--deadline", type=positive, default=0.5, help="of each call, in seconds (default: %(default)s)")
    parser.add_argument("--images", type=whole_number(1), default=1, help="in each call (default: %(default)s)")
    parser.add_argument("--connections", type=whole_number(1), default=8, help="that calls share (default: %(default)s)")
    parser.add_argument("--seconds", type=positive, default=5.0, help="how long to measure (default: %(default)s)")
    parser.add_argument("--warm", type=positive, default=0.5, help="seconds before that (default: %(default)s)")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of when calls are due (default: %(default)s)")
    options = parser.parse_args()
    print(json.dumps(asdict(uvloop.run(_measure(options)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
