"""What a request costs behind holdfast and behind other servers of the same bundle, with the same images and answers.

Each peer has an environment of its own, made when it is first asked for. Holdfast and one peer run side by side and are asked
in turns, by a process of its own. Every answer is compared with the classifier's. Ratios are of pairs; the server's CPU is that
of all of its processes; that of the callers is not counted. A run that was stopped goes on where it was.

    python -m bench.peers --bundle DIR [DIR ...] [--json FILE] [--peers mosec grpcio] [--pairs 5] [--plot FILE]
    python -m bench.peers --quick                                     a synthetic bundle and one peer, in seconds
"""

import argparse
import random
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from bench.harness.environment import restart_with_one_thread
from bench.harness.report import run_benchmark, show
from bench.peers.environments import default_cache
from bench.peers.pairs import Amount, side_by_side
from bench.peers.payload import make_payload
from bench.peers.report.page import COLUMNS, cells, markdown
from bench.peers.report.results import PeerResults, ResultsFile
from bench.peers.report.summary import rows_of, targets_of
from bench.peers.running import Setup
from bench.peers.table import BY_NAME, ECHO, PEERS
from bench.synthetic import write_bundle
from holdfast.bundle.reader import Bundle
from holdfast.console import Console
from holdfast.errors import HoldfastError
from holdfast.exit_status import PAUSED
from holdfast.flags import positive, whole_number

NAMES = [ECHO.name, *(peer.name for peer in PEERS)]
SETTINGS = {"batch": Setup.batch, "wait": Setup.wait, "deadline": Setup.deadline}
AT_ONCE = 3
"""Pairs for which two servers run."""


def measure(options: argparse.Namespace, results: ResultsFile, bundle: Path, end: float) -> bool:
    """Measures what is missing of one bundle. Returns whether all of it is there now; not, where the time is up."""
    amount = Amount(calls=options.calls, alone=options.alone, overload=options.overload)
    found = results.of(bundle.name, asdict(amount) | SETTINGS)
    for name in options.peers:  # what could not be measured is tried again
        found.missing.pop(name, None)
    if _next(found, options) is None:
        return True
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(bundle.resolve(), Path(folder, "payload.npz"), options.environments.resolve())
        make_payload(Bundle.open(bundle)).save(setup.payload)
        while (name := _next(found, options)) is not None:
            if time.monotonic() > end:
                return False
            try:
                with side_by_side(BY_NAME[name], setup, amount) as measure_pair:
                    for _ in range(min(AT_ONCE, options.pairs - found.count(name))):
                        found.add(name, measure_pair())
                        results.save()
            except HoldfastError as reason:  # it cannot be installed, does not start, or answers nothing: the table says so
                found.missing[name] = str(reason)
                results.save()
    return True


def _next(found: PeerResults, options: argparse.Namespace) -> str | None:
    """One of those of which there are the fewest pairs, by chance; None where there are enough of all."""
    left = [name for name in options.peers if found.count(name) < options.pairs and name not in found.missing]
    fewest = min(map(found.count, left), default=0)
    return random.choice([name for name in left if found.count(name) == fewest]) if left else None


def _report(options: argparse.Namespace, found: ResultsFile) -> bool:
    """Prints what there is. Returns whether all promises are kept."""
    kept = True
    for name, results in found.bundles.items():
        show(name, COLUMNS, [cells(row) for row in rows_of(results)])
        for target in targets_of(results):
            Console().print(target)
            kept = kept and target.met
        for peer, reason in results.missing.items():
            print(f"{peer}: {reason}")
        if options.markdown:
            print(markdown(results))
    if options.plot:
        from bench.peers.report.picture import draw  # noqa: PLC0415 - matplotlib takes a while

        draw(options.plot, found.bundles)
    return kept


def _quick(options: argparse.Namespace, folder: Path) -> None:
    """So little that it shows only that everything runs."""
    options.bundle = [write_bundle(folder / "synthetic").directory]
    options.peers, options.pairs = ["grpcio"], 1
    options.calls, options.alone, options.overload = 200, 20, 0.3


def main() -> int:
    """Measures and reports. Returns 0 where all promises are kept, 1 where not, and 75 where the time was up before."""
    options = _parser().parse_args()
    restart_with_one_thread("bench.peers")

    results = ResultsFile(options.json)
    end = time.monotonic() + options.slice
    with tempfile.TemporaryDirectory() as folder:
        if options.quick:
            _quick(options, Path(folder))
        whole = all(measure(options, results, bundle, end) for bundle in options.bundle)
    kept = _report(options, results)
    if not whole:
        print("the time is up: the same command goes on from here")
        return PAUSED
    return 0 if kept else 1


def _parser() -> argparse.ArgumentParser:

    parser = argparse.ArgumentParser(
        prog="python -m bench.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, nargs="*", default=[], help="bundles to serve; none: report what --json holds")
    parser.add_argument("--peers", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=f"some of {', '.join(NAMES)}")
    parser.add_argument("--pairs", type=whole_number(1), default=5, help="of holdfast and each (default: %(default)s)")
    parser.add_argument("--calls", type=whole_number(64), default=2000, help="of 64 callers (default: %(default)s)")
    parser.add_argument("--alone", type=whole_number(1), default=300, help="calls of one caller (default: %(default)s)")
    parser.add_argument("--overload", type=positive, default=3.0, help="seconds at twice the capacity (default: %(default)s)")
    parser.add_argument(
        "--slice", type=positive, default=float("inf"), help="seconds after which no pair is begun (default: none)"
    )
    parser.add_argument("--environments", type=Path, default=default_cache(), help="folder of peers' (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where results are kept; what is there is added to")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown, too")
    parser.add_argument("--plot", type=Path, help="draw CPU a request to this PNG")
    parser.add_argument("--quick", action="store_true", help="a synthetic bundle and plain grpcio, in seconds")
    return parser


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
