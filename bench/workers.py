"""What a server answers with some worker processes and calls of some sizes: images a second, and what an image costs in CPU.

For each number of worker processes one server, and one after the other calls of each size, of raw images, from processes of
their own. The CPU of a server is that of all its processes. 0 workers is a server of one process.

    python -m bench.workers --bundle DIR [--device cuda] [--workers 0 1 4 8] [--images 1 32 256] [--json FILE]
"""

import argparse
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.harness.callers import run_callers
from bench.harness.environment import add_device_flag, add_precision_flag, restart_with_one_thread
from bench.harness.report import run_benchmark, show, write_json
from bench.harness.server_process import Server, running_server
from holdfast.console import Progress
from holdfast.flags import positive, whole_number


@dataclass(frozen=True)
class Callers:
    """Who asks: images under way at a time, from how many processes, for how long each."""

    in_flight: int
    processes: int
    seconds: float


@dataclass(frozen=True)
class Served:
    """What became of calls of one size to a server of so many workers; CPU in microseconds, latencies in milliseconds."""

    workers: int
    images_per_call: int
    images_per_second: float
    mean_batch: float
    server_cpu_us_per_image: float
    caller_cpu_us_per_image: float
    p50_ms: float
    p99_ms: float
    failed_calls: int


def serve(server: Server, workers: int, images: int, crowd: Callers) -> Served:
    """Loads the server by calls of so many images; latencies are the worst of any asking process."""
    callers = max(1, round(crowd.in_flight / images / crowd.processes))
    # Connections are dealt out to workers by chance: several for each, so that none stays idle.
    connections = min(callers, max(1, -(-8 * workers // crowd.processes)))
    flags = ("--callers", callers, "--connections", connections, "--images", images, "--seconds", crowd.seconds)
    report = run_callers(server, *flags, processes=crowd.processes)
    loads = report.loads
    return Served(
        workers=workers,
        images_per_call=images,
        images_per_second=sum(images * (load.calls - load.failed) / load.seconds for load in loads),
        mean_batch=report.mean_batch,
        server_cpu_us_per_image=report.server_cpu,
        caller_cpu_us_per_image=1e6 * sum(load.cpu for load in loads) / (images * sum(load.calls for load in loads)),
        p50_ms=max(load.p50 for load in loads),
        p99_ms=max(load.p99 for load in loads),
        failed_calls=sum(load.failed for load in loads),
    )


def measure(options: argparse.Namespace) -> list[Served]:
    """One server after the other."""
    crowd = Callers(options.in_flight, options.processes, options.seconds)
    flags: list[object] = ["--device", options.device, "--precision", options.precision, "--max-batch", options.max_batch]
    flags += ["--queue-images", max(1024, 4 * options.in_flight)]
    found = []
    with Progress() as progress:
        task = progress.add_task("asking", total=len(options.workers) * len(options.images))
        for workers in options.workers:
            with running_server(options.bundle, *map(str, flags), "--workers", str(workers)) as server:
                for images in options.images:
                    found.append(serve(server, workers, images, crowd))
                    progress.advance(task)
    return found


def main() -> int:
    """Runs the benchmark. Returns 0 where no call failed, else 1."""
    options = _parser().parse_args()
    restart_with_one_thread("bench.workers")
    found = measure(options)
    show(
        f"{options.bundle} on {options.device}: {options.in_flight} images under way, from {options.processes} processes",
        ["workers", "images a call", "images/s", "batch", "server's CPU, us an image", "callers'", "p50, ms", "p99, ms"],
        [
            [
                str(each.workers),
                str(each.images_per_call),
                f"{each.images_per_second:,.0f}",
                f"{each.mean_batch:.0f}",
                f"{each.server_cpu_us_per_image:.3g}",
                f"{each.caller_cpu_us_per_image:.3g}",
                f"{each.p50_ms:.3g}",
                f"{each.p99_ms:.3g}",
            ]
            for each in found
        ],
    )
    failed = sum(each.failed_calls for each in found)
    if failed:
        print(f"{failed} calls failed", file=sys.stderr)
    if options.json:
        settings = {
            "precision": options.precision,
            "in_flight": options.in_flight,
            "processes": options.processes,
            "max_batch": options.max_batch,
        }
        write_json(options.json, "workers", {**settings, "served": [asdict(each) for each in found]}, device=options.device)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(
        prog="python -m bench.workers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="a complete bundle")
    add_device_flag(parser)
    add_precision_flag(parser)
    parser.add_argument(
        "--workers", type=whole_number(0), nargs="+", default=[0, 1, 4, 8], help="of each server (default: %(default)s)"
    )
    parser.add_argument(
        "--images", type=whole_number(1), nargs="+", default=[1, 32, 256], help="in each call (default: %(default)s)"
    )
    parser.add_argument("--max-batch", type=whole_number(1), default=256, help="of the servers (default: %(default)s)")
    parser.add_argument("--in-flight", type=whole_number(1), default=1024, help="images asked at a time (default: %(default)s)")
    parser.add_argument(
        "--processes",
        type=whole_number(1),
        default=max(1, cores // 3),
        help="that ask (default: a third of the cores, %(default)s)",
    )
    parser.add_argument("--seconds", type=positive, default=4.0, help="of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    return parser


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
