"""What of a server's capacity is left when it is asked for more than it can answer.

One server after the other, of one process and with worker processes. Callers in a process of their own first ask as fast as
they are answered, which is the capacity. Then calls are due at random moments of a fixed rate, whether or not others are
answered, each with a deadline. Goodput is what was answered in time. It counts as a ratio of the capacity, measured before and
after each deadline in the same run. Calls carry a few images each, so that on two cores it is the engine that gives out, and
neither those who ask nor what it takes to refuse them: the CPU of the server and of those is in the table. So are the shares
of images that were refused, that were late, and that were embedded though nobody wanted them any more, and the time of
refusals, at the median and at the 99th percentile.

    python -m bench.overload --bundle DIR [--workers 0 2] [--images 4] [--deadlines .25 .5 1 2] [--rates 110 150 200 400]
"""

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.harness.callers import run_callers
from bench.harness.environment import restart_with_one_thread
from bench.harness.report import Target, run_benchmark, show, write_json
from bench.harness.server_process import Server, running_server
from bench.overload.open_loop import OpenLoad
from holdfast.errors import HoldfastError
from holdfast.flags import positive, whole_number

BOUND = 0.90
COLUMNS = (
    "s",
    "%",
    "goodput",
    "refused",
    "late",
    "unwanted",
    "p99 ms",
    "refusal ms",
    "CPU",
)
UNDER_WAY = 192
"""Images that are under way at a time while the capacity is measured: three batches."""


@dataclass(frozen=True)
class Overloaded:
    """One rate of calls with one deadline.

    Attributes:
        goodput: images answered in time, for each image of the capacity.
        server_cpu, caller_cpu: CPU seconds a second.
        unwanted: share of the embedded images that were embedded for nobody.

    """

    workers: int
    deadline: float
    percent: float
    goodput: float
    server_cpu: float
    caller_cpu: float
    unwanted: float
    load: OpenLoad


def capacity(server: Server, images: int, seconds: float) -> float:
    """Images a second that are answered to callers who wait for their answers."""
    callers = max(1, UNDER_WAY // images)
    report = run_callers(server, "--callers", callers, "--images", images, "--connections", 8, "--seconds", seconds)
    return sum(images * (load.calls - load.failed) / load.seconds for load in report.loads)


def run_open(server: Server, options: argparse.Namespace, rate: float, deadline: float) -> tuple[OpenLoad, dict[str, float]]:
    """Calls that do not wait, and what the server's metrics grew by meanwhile.

    Raises:
        HoldfastError: the process that was to ask failed.

    """
    flags = {"rate": rate, "deadline": deadline, "images": options.images, "seconds": options.seconds}
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    before = server.totals()
    command = [sys.executable, "-m", "bench.overload.open_loop", "--address", server.address, *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if not done.stdout:
        raise HoldfastError("a process that was to ask the server failed, for what it says above")
    grown = {name: value - before.get(name, 0.0) for name, value in server.totals().items()}
    return OpenLoad(**json.loads(done.stdout)), grown


def measure(options: argparse.Namespace, workers: int) -> list[Overloaded]:
    """All rates of all deadlines on one server."""
    found = []
    with running_server(options.bundle, "--workers", str(workers), *options.flags) as server:
        before = capacity(server, options.images, options.seconds)
        for deadline in options.deadlines:
            cells = []
            for percent in options.rates:
                load, grown = run_open(server, options, before * percent / 100 / options.images, deadline)
                cells.append((percent, load, grown))
            after = capacity(server, options.images, options.seconds)
            mean = (before + after) / 2
            for percent, load, grown in cells:
                found.append(
                    Overloaded(
                        workers=workers,
                        deadline=deadline,
                        percent=percent * before / mean,
                        goodput=options.images * load.answered / load.seconds / mean,
                        server_cpu=grown["process_cpu_seconds_total"] / load.wall,
                        caller_cpu=load.cpu / load.wall,
                        unwanted=grown["holdfast_unwanted_images_total"] / max(1.0, grown["holdfast_batch_images_sum"]),
                        load=load,
                    )
                )
            before = after
    return found


def row_of(each: Overloaded) -> list[str]:
    """One line of the table."""
    load = each.load
    return [
        f"{each.deadline:g}",
        f"{each.percent:.0f}",
        f"{each.goodput:.2f}",
        f"{load.refused / load.offered:.2f}",
        f"{load.late / load.offered:.2f}",
        f"{each.unwanted:.2f}",
        f"{load.answered_p99:.0f}",
        f"{load.refused_p50:.0f} {load.refused_p99:.0f}",
        f"{each.server_cpu:.1f} {each.caller_cpu:.1f}",
    ]


def main() -> int:
    """Runs the benchmark. Returns 0 where the target is met, else 1."""
    options = _parser().parse_args()
    restart_with_one_thread("bench.overload")
    found = [each for workers in options.workers for each in measure(options, workers)]
    target = Target("goodput / capacity, least of all", min(each.goodput for each in found), BOUND, at_least=True)
    for workers in options.workers:
        title = f"calls of {options.images} raw images, due at random moments; --workers {workers}"
        last = workers == options.workers[-1]
        show(title, COLUMNS, [row_of(each) for each in found if each.workers == workers], target if last else None)
    if options.json:
        write_json(
            options.json, "overload", {"images": options.images, "found": [asdict(each) for each in found]}, target=target
        )
    return 0 if target.met else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.overload", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="bundle to serve")
    parser.add_argument(
        "--workers", type=whole_number(0), nargs="+", default=[0, 2], help="of each server (default: %(default)s)"
    )
    parser.add_argument("--images", type=whole_number(1), default=4, help="in each call (default: %(default)s)")
    parser.add_argument(
        "--deadlines", type=positive, nargs="+", default=[0.25, 0.5, 1.0, 2.0], help="in seconds (default: %(default)s)"
    )
    parser.add_argument(
        "--rates", type=positive, nargs="+", default=[110, 150, 200, 400], help="in %% of the capacity (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=positive, default=4.0, help="of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("flags", nargs="*", help="more flags of python -m server, after --")
    return parser


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
