"""Silent detectors against attackers and against those who attack nobody: found when, wrong how often, at what price.

    python -m bench.detectors --data-dir DIR [--photos DIR] [--only price benign attacks] [--json FILE]

Attackers are ART's, and one of ours that knows the detectors, at a real server over gRPC; each has other images and callers
than the one before, and those of many callers ask among four times as many benign images. Benign traffic is shown to the
detectors directly, without a server, each kind again and again: images are answered once by the real model, and then repeated
to fresh detectors, whose secrets are others each time. So a million images are not a million different ones; the table has both
numbers.

DIR holds CIFAR-10, as published; attacked and benign images are of its test part. Photos are any JPEGs, of which a thief
without images of this kind asks crops.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.detectors.attackers import Attacker, attackers
from bench.detectors.benign import benign_traffic
from bench.detectors.price import measure_price
from bench.detectors.replay import bytes_per_caller, false_alarms
from bench.detectors.running import AttackRun, Relays, attack_once
from bench.harness.environment import restart_with_one_thread
from bench.harness.report import Target, run_benchmark, show, write_json
from bench.harness.server_process import running_server
from holdfast.bundle.reader import Bundle
from holdfast.data import LabelledImages, load
from holdfast.errors import HoldfastError
from holdfast.flags import positive, whole_number
from holdfast.model.answers import Ints
from holdfast.model.preprocess import Pixels
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.settings import Settings

PARTS = ("price", "benign", "attacks")
QUESTIONS, FALSE_ALARMS, PRICE = 500, 10.0, 0.05
"""What is promised: every attack of the libraries is found before so many questions, with fewer false alarms in a million
benign images, for at most this share of a request's CPU."""


def crops(folder: Path, count: int, side: int, seed: int = 0) -> Pixels:
    """Parts of photographs, made as small as the model's images: uint8 [count, side, side, 3]."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in {".jpeg", ".jpg", ".png"})
    if not files:
        raise HoldfastError(f"{folder} holds no photographs")
    rng, found = np.random.default_rng(seed), []
    for number in range(count):
        with Image.open(files[number % len(files)]) as opened:
            photo = opened.convert("RGB")
        part = int(min(photo.size) * rng.uniform(0.3, 1))
        left, top = (int(rng.integers(0, size - part + 1)) for size in photo.size)
        found.append(np.asarray(photo.crop((left, top, left + part, top + part)).resize((side, side))))
    return np.stack(found)


def run_price(options: argparse.Namespace, test: LabelledImages) -> dict[str, Any]:
    """CPU of a request and memory of a caller."""
    results: dict[str, Any] = {}
    for callers in (1, 64):
        price = measure_price(options.bundle, test.images[:4096], callers=callers, seconds=options.seconds, turns=options.turns)
        columns = ["server", "CPU us a request", "more", "calls a second", "more"]
        show(f"{callers} callers, {options.turns} turns of {options.seconds:g} s each", columns, price.rows())
        results[f"callers_{callers}"] = asdict(price) | {"share": price.share}
    snapshot = ModelSnapshot.of(Bundle.open(options.bundle), 1, "bench")
    each = bytes_per_caller(snapshot, Settings(bundle=options.bundle), test.images[:1280])
    show("memory", ["", ""], [["KiB for each caller", f"{each / 1024:.1f}"]])
    return results | {"bytes_per_caller": each}


def run_benign(options: argparse.Namespace, test: LabelledImages) -> dict[str, Any]:
    """False alarms of each kind of benign traffic."""
    snapshot = ModelSnapshot.of(Bundle.open(options.bundle), 1, "bench")
    settings = Settings(bundle=options.bundle)
    found = []
    for traffic in benign_traffic(test, options.scale):
        found.append(false_alarms(snapshot, settings, traffic, options.benign))
        print(f"{traffic.name}: {traffic.text}", file=sys.stderr)
    columns = ["traffic", "images", "different", "alarms", "in a million", "of which detectors"]
    rows = []
    for kind in found:
        alarms = sum(kind.alarmed.values())
        which = ", ".join(f"{name} {count}" for name, count in kind.alarmed.items())
        rows.append(
            [kind.traffic, f"{kind.images:,}", f"{kind.different:,}", str(alarms), f"{kind.alarms_per_million:.1f}", which]
        )
    show("false alarms", columns, rows)
    return {"kinds": [asdict(kind) | {"alarms_per_million": kind.alarms_per_million} for kind in found]}


def run_attacks(options: argparse.Namespace, test: LabelledImages) -> dict[str, Any]:
    """When each attacker is found."""
    bundle = Bundle.open(options.bundle)
    answers = bundle.classifier().classify(test.images[:2000])
    right = np.flatnonzero(answers.labels == test.labels[:2000])
    others = crops(options.photos, 2000, test.images.shape[1]) if options.photos else test.images[:0]
    known = attackers(bundle, others, test.images[2000:8000])
    chosen = [each for each in known if not options.attack or each.name in options.attack]
    runs: list[AttackRun] = []
    for attacker in chosen:
        rows = right[len(runs) : len(runs) + options.images]
        runs += _runs_of(attacker, options, test.images, rows, answers.labels)
    show(
        "attacks",
        ["attack", "found", "questions: median", "most", "first alarms of"],
        [_row(name, runs) for name in _names(runs)],
    )
    return {"runs": [asdict(run) for run in runs]}


def _runs_of(
    attacker: Attacker, options: argparse.Namespace, images: Pixels, rows: NDArray[np.intp], labels: Ints
) -> list[AttackRun]:
    """One attack on each image. Where many callers attack, what all ask together counts: each run has a server of its own."""
    runs: list[AttackRun] = []
    groups = [[row] for row in rows.tolist()] if attacker.callers > 1 else [rows.tolist()]
    for group in groups:
        with running_server(options.bundle, "--alarm-repeat", "0.001") as server, Relays(server) as relays:
            for row in group:
                target = images[row], int(labels[row])
                limits = {"most": options.questions, "seed": row}
                runs.append(attack_once(server, relays, attacker, target, images[8000:], **limits))
    print(_row(attacker.name, runs), file=sys.stderr)
    return runs


def _names(runs: Sequence[AttackRun]) -> list[str]:
    return list(dict.fromkeys(run.attack for run in runs))


def _row(name: str, runs: Sequence[AttackRun]) -> list[str]:
    own = [run for run in runs if run.attack == name]
    when = [run.found for run in own if run.found is not None]
    which = sorted({detector for run in own for detector in run.detectors})
    middle, most = (f"{np.median(when):.0f}", str(max(when))) if when else ("-", "-")
    return [name, f"{len(when)} of {len(own)}", middle, most, ", ".join(which)]


def main() -> int:
    """Runs the benchmark. Returns 0 where what is promised holds, as far as it was measured, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.detectors", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=Path("bundles/cifar10-small"), help="served (default: %(default)s)")
    parser.add_argument("--data-dir", type=Path, required=True, help="where CIFAR-10 lies")
    parser.add_argument("--photos", type=Path, help="folder of photographs, for a thief who has no images of this kind")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)")
    parser.add_argument("--attack", nargs="+", help="attackers by name (default: all)")
    parser.add_argument("--images", type=whole_number(1), default=5, help="that each attacker attacks (default: %(default)s)")
    parser.add_argument("--questions", type=whole_number(1), default=2000, help="of an attack at most (default: %(default)s)")
    parser.add_argument("--benign", type=whole_number(1), default=250_000, help="images of each kind (default: %(default)s)")
    parser.add_argument("--scale", type=positive, default=1.0, help="of the number of different ones (default: %(default)s)")
    parser.add_argument("--seconds", type=positive, default=4.0, help="of each turn of the price (default: %(default)s)")
    parser.add_argument("--turns", type=whole_number(2), default=5, help="of the price (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    restart_with_one_thread("bench.detectors")
    test = load("cifar10", directory=options.data_dir).test
    parts = {"price": run_price, "benign": run_benign, "attacks": run_attacks}
    results = {part: parts[part](options, test) for part in PARTS if part in options.only}
    targets = targets_of(results)
    for target in targets:
        print(target)
    if options.json:
        write_json(options.json, "detectors", results | {"targets": [str(target) for target in targets]})
    return 0 if all(target.met for target in targets) else 1


LIBRARIES = ("Square", "HopSkipJump", "boundary", "transfer", "extraction, other images")


def targets_of(results: dict[str, Any]) -> list[Target]:
    """What was promised, as far as it was measured."""
    targets = []
    if "price" in results:
        share = max(part["share"] for part in results["price"].values() if isinstance(part, dict))
        targets.append(Target("share of a request's CPU", share, PRICE, at_least=False))
    if "benign" in results:
        worst = max(kind["alarms_per_million"] for kind in results["benign"]["kinds"])
        targets.append(Target("false alarms in a million, of the worst kind", worst, FALSE_ALARMS, at_least=False))
    for name in LIBRARIES:
        own = [run for run in results.get("attacks", {}).get("runs", []) if run["attack"] == name]
        if own:
            worst = max(run["found"] or float("inf") for run in own)
            targets.append(Target(f"{name}: questions before the alarm", worst, QUESTIONS, at_least=False))
    return targets


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
