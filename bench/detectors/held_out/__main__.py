"""False alarms of the silent detectors on benign traffic that they were not tuned on.

    python -m bench.detectors.held_out --data-dir DIR --pictures DIR [--draw 1] [--answers DIR] [--json FILE]

Each kind of traffic is shown to fresh detectors directly, once; a million images are a million, and repeats are said. Then a
real server is asked about the first of the mixture over gRPC, each caller from an address of its own. Alarms of one detector
about one caller count once for each kind. The bound is the exact one-sided 95 % bound of a Poisson rate: it takes each image
for a chance of an alarm that has nothing to do with the others, and images of one film have.

What `drift` says is that the traffic is no longer what the bundle was calibrated for, and `extraction-distribution` that one
caller's is not. Such an alarm is right, and counts as no false one, where a promise of the bundle about p-values is broken by
that traffic, or by that caller's; a table says by how much. Nobody attacks here, so the right alarms are told as well.

--data-dir holds CIFAR-10, as published. --pictures holds folders `photos` and `sign-digits` of pictures, and `mnist` and
`fashion-mnist` as published. Another --draw is other traffic. Rules of detectors are never to be chosen by what this prints.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.detectors.benign import BenignTraffic
from bench.detectors.held_out.answers import AnswersFolder
from bench.detectors.held_out.promises import LEVELS, STATED, PromiseCheck, Promises
from bench.detectors.held_out.serving import ServedTraffic, serve_traffic
from bench.detectors.held_out.sources import read_sources
from bench.detectors.held_out.traffic import NAMES, held_out_traffic, mixture
from bench.detectors.replay import FalseAlarms, false_alarms
from bench.harness.environment import restart_with_one_thread
from bench.harness.report import run_benchmark, show, write_json
from holdfast.bundle.reader import Bundle
from holdfast.data import load
from holdfast.flags import positive, whole_number
from holdfast.intervals import poisson_upper
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.settings import Settings


@dataclass(frozen=True)
class AlarmRate:
    """Alarms of one detector, or of all, over some images."""

    alarms: int
    images: int

    def __str__(self) -> str:
        rate, bound = (1e6 * count / self.images for count in (self.alarms, poisson_upper(self.alarms)))
        return f"{rate:.1f}, below {bound:.1f}"


def by_detector(kinds: Sequence[FalseAlarms]) -> dict[str, AlarmRate]:
    """Alarms of each detector over all kinds, those of none included, and of all detectors together."""
    images, counted = sum(kind.images for kind in kinds), Counter[str]()
    for kind in kinds:
        counted.update(kind.alarmed)
    return {**{name: AlarmRate(count, images) for name, count in counted.items()}, "all": AlarmRate(counted.total(), images)}


def show_kinds(kinds: Sequence[FalseAlarms]) -> None:
    """Two tables: by kind of traffic, and by detector."""
    rows = []
    for kind in kinds:
        rate = str(AlarmRate(sum(kind.alarmed.values()), kind.images))
        false, right = (_by_name(alarms) for alarms in (kind.alarmed, kind.right))
        rows.append([kind.traffic, f"{kind.images:,}", f"{kind.different:,}", f"{kind.callers:,}", false, rate, right])
    columns = ["traffic", "images", "different", "callers", "false alarms of", "in a million", "right alarms of"]
    show("false alarms, by traffic", columns, rows)
    rates = sorted(by_detector(kinds).items(), key=lambda each: each[1].alarms)
    rows = [[name, str(rate.alarms), f"{rate.images:,}", str(rate)] for name, rate in rates]
    show("false alarms, by detector", ["detector", "alarms", "images", "in a million"], rows)


def _by_name(alarms: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(alarms.items())) or "none"


def show_promises(checks: dict[str, PromiseCheck]) -> None:
    """What is promised of p-values, and what is."""
    rows = []
    for kind, check in checks.items():
        shares = (", ".join(f"{share:.3f}" for share in found) for found in (check.distance, check.label))
        rows.append([kind, *shares, ", ".join(check.broken) or "none"])
    levels = ", ".join(f"{level:g}" for level in LEVELS)
    columns = ["traffic", "of the distance", "of the right label, at least", "broken"]
    show(f"shares of images with a p-value of at most {levels}; {STATED:g} more is stated", columns, rows)


def show_served(served: ServedTraffic) -> None:
    """One line of what a real server said."""
    looked_at = f"{served.looked_at:,} looked at: {_by_name(served.alarms)}"
    print(f"a server asked {served.images:,} times by {served.callers} callers, {looked_at}")


def measure(
    snapshot: ModelSnapshot, settings: Settings, traffic: BenignTraffic, answers: AnswersFolder
) -> tuple[FalseAlarms, PromiseCheck | None]:
    """Alarms of one kind of traffic, and what of the bundle's promises it keeps; None where the bundle promises nothing."""
    calibration = snapshot.classifier.calibration
    if calibration is None or not calibration.kth_distances:
        return false_alarms(snapshot, settings, traffic, least=1, answer=answers), None
    promises = Promises(traffic, answers(traffic.images), calibration)
    found = false_alarms(snapshot, settings, traffic, least=1, answer=answers, is_right=promises.is_right)
    return found, promises.check()


def main() -> int:
    """Runs the benchmark. Returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.detectors.held_out", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=Path("bundles/cifar10-small"), help="served (default: %(default)s)")
    parser.add_argument("--data-dir", type=Path, required=True, help="where CIFAR-10 lies")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of other pictures")
    parser.add_argument("--draw", type=whole_number(1), default=1, help="number of the draw (default: %(default)s)")
    parser.add_argument("--scale", type=positive, default=1.0, help="of the number of images (default: %(default)s)")
    parser.add_argument("--kinds", nargs="+", choices=NAMES, default=NAMES, help="of traffic (default: all)")
    parser.add_argument(
        "--served", type=whole_number(0), default=20_000, help="images over gRPC; 0: none (default: %(default)s)"
    )
    parser.add_argument("--answers", type=Path, help="folder that keeps the model's answers, so that a second run need not ask")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    restart_with_one_thread("bench.detectors.held_out")
    sources = read_sources(load("cifar10", directory=options.data_dir).test, options.pictures, options.draw)
    snapshot = ModelSnapshot.of(Bundle.open(options.bundle), 1, "bench")
    settings, answers = Settings(bundle=options.bundle, alarm_names=True), AnswersFolder(snapshot, options.answers)
    kinds, checks = list[FalseAlarms](), dict[str, PromiseCheck]()
    for traffic in held_out_traffic(sources, options.scale, options.draw, options.kinds):
        kind, check = measure(snapshot, settings, traffic, answers)
        kinds.append(kind)
        checks |= {} if check is None else {traffic.name: check}
        print(f"{traffic.name}: {traffic.text}: {kind.alarmed}", file=sys.stderr)
    show_kinds(kinds)
    show_promises(checks)
    values: dict[str, object] = {
        "draw": options.draw,
        "kinds": [asdict(kind) for kind in kinds],
        "promises": {name: asdict(check) for name, check in checks.items()},
    }
    if options.served:
        served = serve_traffic(options.bundle, mixture(sources, options.scale, options.draw, 4), options.served)
        show_served(served)
        values["served"] = asdict(served)
    if options.json:
        write_json(options.json, "detectors.held_out", values)
    return 0


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
