"""How much of the pipeline's own throughput is left once it is served over gRPC.

One server process; 64 callers in one other process, each with one raw image a call. Against it the same classifier on the
same bundle in a loop, at the mean batch size that the server formed, without gRPC. Both in turns, several rounds; one ratio
a round, and the median of them counts. On a machine of two cores the callers take from the server: their CPU is in the table.

    python -m bench.serving --bundle DIR [--callers 64] [--seconds 4] [--rounds 5] [--json FILE]
"""

import argparse
import statistics
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.harness.callers import run_callers
from bench.harness.environment import restart_with_one_thread
from bench.harness.report import Spread, Target, run_benchmark, show, write_json
from bench.harness.server_process import running_server
from bench.harness.timing import times_a_second
from holdfast.errors import HoldfastError
from holdfast.flags import positive, whole_number

BOUND = 0.70


@dataclass(frozen=True)
class Round:
    """One turn of each: images a second, the batch size, and CPU microseconds a request."""

    served: float
    looped: float
    batch: float
    server_cpu: float
    caller_cpu: float
    p50: float
    p99: float

    @property
    def ratio(self) -> float:
        """Served over looped."""
        return self.served / self.looped


def measure(bundle: Path, callers: int, seconds: float, rounds: int, flags: list[str]) -> list[Round]:
    """Serves and loops in turns."""
    # Imported here: these libraries read their environment when they are imported, and main sets it first.
    import numpy as np  # noqa: PLC0415

    from holdfast.bundle.reader import Bundle  # noqa: PLC0415
    from holdfast.console import track  # noqa: PLC0415

    opened = Bundle.open(bundle)
    classifier, shape = opened.classifier(), opened.manifest.input.shape
    results = []
    with running_server(bundle, *flags) as server:
        for _ in track(range(rounds), description="serving and looping"):
            report = run_callers(server, "--callers", callers, "--seconds", seconds)
            (load,), batch = report.loads, report.mean_batch
            if load.failed:
                raise HoldfastError(f"{load.failed} of {load.calls} calls failed")
            images = np.random.default_rng(0).integers(0, 256, (max(1, round(batch)), *shape), dtype=np.uint8)
            classify = partial(classifier.classify, images)
            classify()
            looped = len(images) * times_a_second(classify, seconds)
            served, cpu = load.calls / load.seconds, load.cpu / load.calls * 1e6
            results.append(Round(served, looped, batch, report.server_cpu, cpu, load.p50, load.p99))
    return results


def main() -> int:
    """Runs the benchmark. Returns 0 where the target is met, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.serving", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="bundle to serve; the demo leaves one")
    parser.add_argument("--callers", type=whole_number(1), default=64, help="concurrent callers (default: %(default)s)")
    parser.add_argument("--seconds", type=positive, default=4.0, help="of each turn (default: %(default)s)")
    parser.add_argument("--rounds", type=whole_number(2), default=5, help="turns of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("flags", nargs="*", help="more flags of python -m server, after --")
    options = parser.parse_args()
    restart_with_one_thread("bench.serving")
    rounds = measure(options.bundle, options.callers, options.seconds, options.rounds, options.flags)
    target = Target("served / looped", statistics.median(r.ratio for r in rounds), BOUND, at_least=True)
    spreads = {name: Spread.of([getattr(r, name) for r in rounds]) for name in Round.__dataclass_fields__}
    names = {
        "served": "images/s over gRPC",
        "looped": "images/s in a loop without gRPC, same batch",
        "batch": "mean batch",
        "server_cpu": "server's CPU, us a request",
        "caller_cpu": "callers' CPU, us a request",
        "p50": "latency p50, ms",
        "p99": "latency p99, ms",
    }
    rows = [[text, str(spreads[name])] for name, text in names.items()]
    rows.append(["ratio, round by round", str(Spread.of([r.ratio for r in rounds]))])
    show(f"{options.callers} callers, one raw image a call", ["", "median (quartiles)"], rows, target)
    if options.json:
        write_json(options.json, "serving", {name: spread.median for name, spread in spreads.items()}, target=target)
    return 0 if target.met else 1


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
