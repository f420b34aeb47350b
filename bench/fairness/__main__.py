"""What a caller of few images feels of others who send many: its latency among them, for each time of it alone.

One server process. The small caller asks for a few raw images, one call at a time. The greedy ones, in a process of their own,
each keep a call of 256 images under way. Each caller has an address of its own. Alone and among them in turns, several rounds;
one ratio a round, and the median of them counts. Health checks are timed beside: they wait for what is long on the server's
event loop, such as replies with --neighbours of each image.

    python -m bench.fairness --bundle DIR [--greedy 8] [--images 1] [--neighbours 0] [--seconds 5] [--rounds 3] [--json FILE]
"""

import argparse
import asyncio
import statistics
import sys
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.fairness.greedy import LARGE_CALL, be_greedy, channel_of
from bench.harness.environment import restart_with_one_thread
from bench.harness.report import Spread, Target, run_benchmark, show, write_json
from bench.harness.server_process import running_server
from bench.load import CLASSIFY, input_shape, raw_requests
from holdfast.errors import HoldfastError
from holdfast.flags import positive, whole_number

BOUND = 3.0


@dataclass(frozen=True)
class Felt:
    """Latencies of the small caller and of health checks, in milliseconds; calls of the small caller, answered and not."""

    calls: int
    failed: int
    p50: float
    p99: float
    health_p50: float
    health_p99: float
    health_most: float


async def ask_little(address: str, images: int, seconds: float) -> Felt:
    """The small caller, one call after the other, and health checks beside it."""
    requests = raw_requests(await input_shape(address), images=images)
    latencies, checks, failed = list[float](), list[float](), 0
    end = time.perf_counter() + seconds
    async with channel_of(address, "127.0.0.2") as channel:
        call: Any = channel.unary_unary(CLASSIFY)
        check: Any = health_pb2_grpc.HealthStub(channel).Check

        async def look() -> None:
            while time.perf_counter() < end:
                began = time.perf_counter()
                await check(health_pb2.HealthCheckRequest())
                checks.append(time.perf_counter() - began)
                await asyncio.sleep(0.02)

        looking = asyncio.create_task(look())
        while (began := time.perf_counter()) < end:
            try:
                await call(requests[len(latencies) % len(requests)])
                latencies.append(time.perf_counter() - began)
            except grpc.aio.AioRpcError:
                failed += 1
        await looking
    # Who is never answered waits for ever.
    p50, p99 = (float(value) * 1e3 for value in np.percentile(latencies or [np.inf], (50, 99)))
    health = [float(value) * 1e3 for value in np.percentile(checks, (50, 99, 100))]
    return Felt(len(latencies), failed, p50, p99, *health)


def measure(options: argparse.Namespace) -> list[tuple[Felt, Felt]]:
    """Alone and among the greedy, in turns."""
    rounds, context = [], get_context("spawn")
    greedy = [f"127.0.0.{number + 10}" for number in range(options.greedy)]
    with running_server(options.bundle, *options.flags) as server:
        for _ in range(options.rounds):
            alone = uvloop.run(ask_little(server.address, options.images, options.seconds))
            stop = context.Event()
            crowd = context.Process(target=be_greedy, args=(server.address, greedy, options.neighbours, stop))
            crowd.start()
            try:
                time.sleep(options.settle)
                among = uvloop.run(ask_little(server.address, options.images, options.seconds))
            finally:
                stop.set()
                crowd.join()
            if crowd.exitcode:
                raise HoldfastError("the greedy callers failed, for what it says above")
            rounds.append((alone, among))
    return rounds


def main() -> int:
    """Runs the benchmark. Returns 0 where the target is met, else 1."""
    options = _parser().parse_args()
    restart_with_one_thread("bench.fairness")
    rounds = measure(options)
    ratios = [among.p50 / alone.p50 for alone, among in rounds]
    target = Target("latency among the greedy / alone, median", statistics.median(ratios), BOUND, at_least=False)
    names = {
        "p50": "latency p50, ms",
        "p99": "latency p99, ms",
        "health_p50": "health check p50, ms",
        "health_p99": "health check p99, ms",
        "health_most": "health check, longest, ms",
        "failed": "calls refused",
    }
    spreads = {name: [Spread.of([getattr(each[side], name) for each in rounds]) for side in (0, 1)] for name in names}
    rows = [[text, *map(str, spreads[name])] for name, text in names.items()]
    rows.append(["ratio of p50, round by round", "", str(Spread.of(ratios))])
    title = f"{options.images} images a call, one call at a time, beside {options.greedy} callers of {LARGE_CALL} images"
    show(title, ["", "alone", "among them"], rows, target)
    if options.json:
        values = {name: {"alone": alone.median, "among": among.median} for name, (alone, among) in spreads.items()}
        write_json(options.json, "fairness", {"ratios": ratios, **values}, target=target)
    return 0 if target.met else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.fairness", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="bundle to serve")
    parser.add_argument("--greedy", type=whole_number(1), default=8, help="greedy callers (default: %(default)s)")
    parser.add_argument("--images", type=whole_number(1), default=1, help="of a small call (default: %(default)s)")
    parser.add_argument(
        "--neighbours", type=whole_number(0), default=0, help="that greedy callers ask for (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=positive, default=5.0, help="of each turn (default: %(default)s)")
    parser.add_argument("--settle", type=positive, default=2.0, help="seconds for the crowd to begin (default: %(default)s)")
    parser.add_argument("--rounds", type=whole_number(2), default=3, help="turns of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("flags", nargs="*", help="more flags of python -m server, after --")
    return parser


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
