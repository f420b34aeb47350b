"""What probing costs the calls that are answered meanwhile: two servers of one bundle, one of which probes, asked in turns.

Many callers keep the server busy, and a probe then waits; one caller leaves it idle between its calls, which is when probes
work. Of each, calls a second and the 99th percentile of their latency, with probes over without; one ratio a round, and the
median counts. Without probes both servers would differ by chance alone: the first row says by how much.

    python -m bench.observing.probing --bundle DIR [--rate .01] [--callers 1 16] [--seconds 4] [--rounds 7] [--json FILE]
"""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness.callers import run_callers
from bench.harness.report import Spread, Target, run_benchmark, show, write_json
from bench.harness.server_process import Server, running_server
from holdfast.console import track
from holdfast.errors import HoldfastError
from holdfast.flags import positive, whole_number

if TYPE_CHECKING:
    from bench.load import Load

BOUND = 0.95


def measure(
    servers: tuple[Server, Server, Server], callers: int, seconds: tuple[float, float, float], rounds: int
) -> dict[str, list[Spread]]:
    """Ratios to the first server of the two others: calls a second, and the 99th percentile of latency.

    Args:
        servers: of which the last one probes.
        callers: at a time.
        seconds: of one turn of each server.
        rounds: in each of which all have a turn.

    """
    loads: list[list[Load]] = [[], [], []]
    for i in track(range(rounds + 1), description=f"{callers} callers"):
        for which in range(3) if i % 2 else reversed(range(3)):
            (load,) = run_callers(servers[which], "--callers", callers, "--seconds", seconds[which]).loads
            if load.failed:
                raise HoldfastError(f"{load.failed} of {load.calls} calls failed")
            loads[which].append(load)
    first, *others = (each[1:] for each in loads)  # the first of each warms up
    ratios = {}
    for name, other in zip(("without probes again", "with probes"), others, strict=True):
        rates = [(b.calls / b.seconds) / (a.calls / a.seconds) for a, b in zip(first, other, strict=True)]
        tails = [b.p99 / a.p99 for a, b in zip(first, other, strict=True)]
        ratios[name] = [Spread.of(rates), Spread.of(tails)]
    return ratios


def main() -> int:
    """Runs the benchmark. Returns 0 where the target is met, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.observing.probing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="bundle to serve")
    parser.add_argument("--rate", type=positive, default=0.01, help="share of answers that is probed (default: %(default)s)")
    parser.add_argument("--callers", type=whole_number(1), nargs="+", default=[1, 16], help="at a time (default: 1 16)")
    parser.add_argument("--seconds", type=positive, default=4.0, help="of each turn (default: %(default)s)")
    parser.add_argument(
        "--probing-seconds",
        type=positive,
        help="of a turn of the server that probes: longer ones, more probes (default: the same)",
    )
    parser.add_argument("--rounds", type=whole_number(2), default=7, help="turns of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    seconds = (options.seconds, options.seconds, options.probing_seconds or options.seconds)
    rows, values = [], dict[str, float]()
    with ExitStack() as stack:
        flags: list[list[str]] = [[], [], ["--probe-rate", str(options.rate)]]
        first, second, probing = (stack.enter_context(running_server(options.bundle, *each)) for each in flags)
        for callers in options.callers:
            for name, (rate, tail) in measure((first, second, probing), callers, seconds, options.rounds).items():
                rows.append([str(callers), name, str(rate), str(tail)])
                values |= {f"{name}, {callers}: calls": rate.median, f"{name}, {callers}: p99": tail.median}
        counted = probing.totals()
    values |= {"probes": counted["holdfast_probe_total"], "shed": counted["holdfast_probe_shed_total"]}
    worst = min(value for name, value in values.items() if name.startswith("with probes") and name.endswith("calls"))
    target = Target("calls a second with probes / without", worst, BOUND, at_least=True)
    columns = ["callers", "against a server without", "calls a second", "99th percentile"]
    show(f"{options.bundle}, {options.rate:.1%} of the answers probed", columns, rows, target)
    print(f"{values['probes']:.0f} probes ended, {values['shed']:.0f} samples were shed")
    if options.json:
        write_json(options.json, "observing.probing", values, target=target)
    return 0 if target.met else 1


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
