"""What a reload costs the callers of a server, and whether its memory comes back.

Callers ask without a pause, from this process, while SIGHUP makes the server load its bundle again: verify, open, run every
batch size, try the canary, swap, give the old memory back. Before each reload they ask as long without one. Calls that began
while a reload was under way are compared with those that began before it, by the 99th percentile of their time; no call may
fail, and resident memory after the last reload is compared with that after the second.

    python -m bench.live.reload --bundle DIR [--reloads 20] [--callers 4] [--json FILE] [-- flags of the server]
"""

import argparse
import asyncio
import os
import signal
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import uvloop

from bench.harness.environment import restart_with_one_thread
from bench.harness.report import Spread, Target, run_benchmark, show, write_json
from bench.harness.server_process import Server, running_server
from bench.load import CLASSIFY, raw_requests
from holdfast.bundle.reader import read_manifest
from holdfast.errors import HoldfastError
from holdfast.flags import whole_number

SLOWER, GROWN = 1.5, 1.05
POLL_S, LONGEST_S = 0.1, 120.0
QUIET_S = 2.0


@dataclass
class ReloadRun:
    """What was measured of so many reloads; seconds, bytes.

    Attributes:
        calls: when each call began and how long it took.
        failed: calls that failed.
        windows: when each quiet time began, its reload began, and that ended.
        resident: memory after each reload.

    """

    calls: list[tuple[float, float]] = field(default_factory=list)
    failed: int = 0
    windows: list[tuple[float, float, float]] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)

    def p99(self, *, during: bool) -> list[float]:
        """The 99th percentile of each window's calls, those during its reload or those before it, in seconds."""
        calls = np.array(self.calls)
        bounds = [(began, ended) if during else (quiet, began) for quiet, began, ended in self.windows]
        return [float(np.percentile(calls[(calls[:, 0] >= a) & (calls[:, 0] < b), 1], 99)) for a, b in bounds]


async def measure(server: Server, requests: list[bytes], callers: int, reloads: int) -> ReloadRun:
    """Ask and reload."""
    run, stopping = ReloadRun(), asyncio.Event()

    async def caller(number: int) -> None:
        async with grpc.aio.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            call: Any = channel.unary_unary(CLASSIFY)
            while not stopping.is_set():
                began = time.perf_counter()
                try:
                    await call(requests[number % len(requests)])
                except grpc.aio.AioRpcError:
                    run.failed += 1
                run.calls.append((began, time.perf_counter() - began))
                number += 1

    async with asyncio.TaskGroup() as group:
        for number in range(callers):
            group.create_task(caller(number))
        await asyncio.sleep(QUIET_S)  # a warm-up
        for done in range(1, reloads + 1):
            quiet = time.perf_counter()
            await asyncio.sleep(QUIET_S)
            began = time.perf_counter()
            os.kill(server.pid, signal.SIGHUP)
            run.resident.append(await _ended(server, done))
            run.windows.append((quiet, began, time.perf_counter()))
        stopping.set()
    return run


async def _ended(server: Server, reloads: int) -> float:
    """Wait until so many reloads have ended. Returns the server's resident bytes."""
    give_up = time.perf_counter() + LONGEST_S
    while time.perf_counter() < give_up:
        await asyncio.sleep(POLL_S)
        samples = await asyncio.to_thread(server.samples)
        outcomes = {s.labels["outcome"]: s.value for s in samples if s.name == "holdfast_model_reloads_total"}
        if outcomes["refused"]:
            raise HoldfastError("the server refused to load its bundle again; its log says why")
        if outcomes["served"] >= reloads:
            return sum(s.value for s in samples if s.name == "process_resident_memory_bytes")
    raise HoldfastError(f"a reload took more than {LONGEST_S:.0f} s")


def report(run: ReloadRun, callers: int, path: Path | None) -> bool:
    """Print what was measured, and write it where that is asked for. Returns whether all targets are met."""
    before, during = (np.array(run.p99(during=which)) * 1e3 for which in (False, True))
    ratios = [d / b for b, d in zip(before, during, strict=True)]
    target = Target("p99 during / before, median", statistics.median(ratios), SLOWER, at_least=False)
    grown = Target("memory after the last / the second", run.resident[-1] / run.resident[1], GROWN, at_least=False)
    seconds = [ended - began for _, began, ended in run.windows]
    rows = [
        ["calls", f"{len(run.calls):,}"],
        ["failed calls", str(run.failed)],
        ["a reload, s", str(Spread.of(seconds))],
        ["p99 before, ms", str(Spread.of(before.tolist()))],
        ["p99 during, ms", str(Spread.of(during.tolist()))],
        ["ratio, reload by reload", str(Spread.of(ratios))],
        [
            "resident after 1, 2, 10, last, MiB",
            ", ".join(f"{run.resident[at] / 2**20:.0f}" for at in (0, 1, min(9, len(run.resident) - 1), -1)),
        ],
    ]
    show(f"{len(run.windows)} reloads, {callers} callers of one image a call", ["", "median (quartiles)"], rows, target)
    print(grown.name, f"{grown.value:.3f}, target <= {GROWN}:", "met" if grown.met else "missed")
    if path is not None:
        values = {"failed": run.failed, "memory_ratio": grown.value, "resident": run.resident, "ratios": ratios}
        write_json(path, "reload", values, target=target)
    return target.met and grown.met and not run.failed


def main() -> int:
    """Runs the benchmark. Returns 0 where the targets are met, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.live.reload", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="bundle to serve")
    parser.add_argument("--reloads", type=whole_number(3), default=20, help="at least 3 (default: %(default)s)")
    parser.add_argument("--callers", type=whole_number(1), default=4, help="concurrent callers (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("flags", nargs="*", help="more flags of holdfast serve, after --")
    options = parser.parse_args()
    restart_with_one_thread("bench.live.reload")
    requests = raw_requests(read_manifest(options.bundle).input.shape)
    with running_server(options.bundle, *options.flags) as server:
        run = uvloop.run(measure(server, requests, options.callers, options.reloads))
    return 0 if report(run, options.callers, options.json) else 1


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
