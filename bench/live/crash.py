"""A server that is killed again and again while its exemplars change: what was acknowledged must be there afterwards.

Callers add, relabel and delete exemplars as fast as they are answered. The server process is killed by SIGKILL at random
moments, and now and then half a write is put at the end of its journal, as a power cut may leave it. After each start all
exemplars are listed and compared with what was acknowledged: a change that is missing is lost, one of which a part is there is
half applied. Each caller then sends again what it had no answer to.

SIGKILL does not empty the disk's cache, so this says nothing of fsync: that a commit waits for the disk is shown by
tests/server/store/test_durability.py.

    python -m bench.live.crash --bundle DIR [--changes 10000] [--kills 50] [--torn 5] [--json FILE]
"""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.harness.report import run_benchmark
from bench.live.crash_harness import CrashHarness
from holdfast.bundle.reader import read_manifest
from holdfast.flags import whole_number


@dataclass(frozen=True)
class CrashReport:
    """What became of it.

    Attributes:
        changes: acknowledged.
        kills, torn: of the server, and half writes put at the end of its journal.
        lost, half_applied: changes; both have to be 0.
        folded: whether changes were folded into a bundle meanwhile.
        slowest_start_s: seconds from the command to a server that answers, libraries and bundle included.

    """

    changes: int
    kills: int
    torn: int
    lost: int
    half_applied: int
    folded: bool
    slowest_start_s: float


def crash(
    bundle: Path, shape: tuple[int, int, int], *, changes: int, kills: int, torn: int, seed: int = 0, flags: Sequence[str] = ()
) -> CrashReport:
    """Change exemplars of a server that is killed `kills` times, of which `torn` times its journal's tail is torn."""
    with tempfile.TemporaryDirectory() as folder:
        harness = CrashHarness(bundle, shape, Path(folder), seed, *flags)
        tears = set(random.Random(seed).sample(range(kills), torn))
        for life in range(kills):
            harness.live(changes * (life + 1) // kills)
            if life in tears:
                harness.tear()
        harness.start().kill()
        bundles = harness.store / "bundles"
        return CrashReport(
            changes=harness.acknowledged,
            kills=kills,
            torn=torn,
            lost=harness.lost,
            half_applied=harness.half_applied,
            folded=bundles.is_dir() and any(bundles.iterdir()),
            slowest_start_s=round(harness.slowest_start, 2),
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.live.crash", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="to serve")
    parser.add_argument("--changes", type=whole_number(1), default=10_000, help="acknowledged in all (default: %(default)s)")
    parser.add_argument("--kills", type=whole_number(1), default=50, help="(default: %(default)s)")
    parser.add_argument(
        "--torn", type=whole_number(0), default=5, help="of them, half writes at the end of the journal (default: %(default)s)"
    )
    parser.add_argument(
        "--compact-after", type=whole_number(1), default=2000, help="changed rows that are folded (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, help="file for the report")
    return parser


def main() -> int:
    """Returns 0 where nothing was lost and nothing half applied, else 1."""
    parser = _parser()
    options = parser.parse_args()
    if options.torn > options.kills:
        parser.error(f"--torn {options.torn} of --kills {options.kills}: a tail is torn after a kill")
    shape = read_manifest(options.bundle).input.shape
    flags = ("--compact-after", str(options.compact_after), "--store-rate", "1e6")
    report = crash(options.bundle, shape, changes=options.changes, kills=options.kills, torn=options.torn, flags=flags)
    print(json.dumps(asdict(report)))
    if options.json:
        options.json.write_text(json.dumps(asdict(report)) + "\n")
    return int(report.lost > 0 or report.half_applied > 0)


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
