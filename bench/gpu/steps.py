"""The steps in order, each a command that somebody could type, and what is to be kept of what it leaves."""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.gpu.scales import BenchScale, Goal
from bench.harness.report import Target
from holdfast.bundle.reader import read_manifest
from holdfast.bundle.threat_model import ThreatModel, ball
from holdfast.exit_status import CHECKS_FAILED
from holdfast.model.encoder.device import Device

Numbers = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: of its result's file.
        does: for people.
        command: after the interpreter.
        read: what it measured, and what it promised, from what it left.
        leaves: the file without which it was not done.
        needs: steps without which its result means something else.
        rewrites: whether it writes that file anew whatever was there, so that an old one says nothing.
        sliced: whether its command takes --minutes and ends with status 75 when they are over.
        fine: statuses that say that all was done, whatever was found.

    """

    name: str
    does: str
    command: tuple[str, ...]
    read: Callable[[], tuple[Numbers, list[Target]]]
    leaves: Path
    needs: tuple[str, ...] = ()
    rewrites: bool = False
    sliced: bool = False
    fine: tuple[int, ...] = (0,)

    @property
    def typed(self) -> str:
        """The command as a person would type it."""
        return shlex.join(("python", *self.command))


@dataclass(frozen=True)
class Place:
    """Where everything happens: a directory for all that is made, and a device."""

    out: Path
    device: Device
    data_dir: Path | None

    @property
    def bundle(self) -> Path:
        """What is trained, indexed, evaluated and served."""
        return self.out / "bundle"

    @property
    def data(self) -> tuple[str, ...]:
        """The flag that names the data set's directory, where it has one."""
        return ("--data-dir", str(self.data_dir)) if self.data_dir else ()


def steps(scale: BenchScale, place: Place) -> tuple[Step, ...]:
    """All of them, in order."""
    device, bundle = ("--device", place.device), str(place.bundle)
    served = (*device, "--precision", scale.precision)
    full = "--full" in scale.evaluate
    return (
        _bench("training", "training against its passes alone", place, (*device, *scale.training)),
        Step(
            "train",
            f"python -m trainer {scale.preset}",
            ("-m", "trainer", scale.preset, "--out", bundle, *device, *place.data, "--resume-if-any", *scale.train),
            lambda: _trained(place.bundle),
            place.bundle / "manifest.json",
            sliced=True,
        ),
        Step(
            "index",
            "the labelled set embedded and indexed",
            ("-m", "index_build", bundle, *device, *place.data, *scale.index),
            lambda: _indexed(place.bundle),
            place.bundle / "index.faiss",
            needs=("train",),
        ),
        Step(
            "evaluate",
            "attacks, judged on the answers as served",
            (
                *("-m", "holdfast", "evaluate", bundle, *place.data, "--record", "--serve-on", place.device),
                *("--gradients", "torch", *device, *scale.evaluate),
            ),
            lambda: read_evaluation(place.bundle, scale.goal),
            place.bundle / ("report/report.json" if full else "manifest.json"),
            needs=("index",),
            sliced=full,
            fine=(0, CHECKS_FAILED),
        ),
        _bench("parity", "the CPU's answers and the device's", place, (*served, *place.data), bundle=bundle),
        _bench("engine", "the engine against its libraries alone", place, (*served, *scale.engine), bundle=bundle),
        _bench("serve", "served by processes and call sizes", place, (*served, *scale.serve), bundle=bundle, module="workers"),
        _bench("scan", "exact search against a copy of memory", place, (*device, *scale.scan)),
    )


def _bench(
    name: str, does: str, place: Place, flags: tuple[str, ...], *, bundle: str | None = None, module: str | None = None
) -> Step:
    """A benchmark that writes what it measured. It ends with 1 where it misses its target, and has measured it all the same."""
    written = place.out / "measured" / f"{name}.json"
    of_bundle = ("--bundle", bundle) if bundle else ()
    return Step(
        name,
        does,
        ("-m", f"bench.{module or name}", *of_bundle, *flags, "--json", str(written)),
        lambda: _measured(written),
        written,
        needs=("index",) if bundle else (),
        rewrites=True,
        fine=(0, 1),
    )


def _measured(written: Path) -> tuple[Numbers, list[Target]]:
    numbers = json.loads(written.read_text())
    if "bound" not in numbers:
        return numbers, []
    return numbers, [Target(numbers["promised"], numbers["ratio"], numbers["bound"], at_least=numbers["at_least"])]


def _trained(bundle: Path) -> tuple[Numbers, list[Target]]:
    """How long it took, and, where the trainer made a dry run, how well it used the device: over all of its slices."""
    training = read_manifest(bundle).trained
    return {
        "command": training.command,
        "commit": training.commit,
        "encoder": training.encoder,
        "objective": training.objective,
        "training_seconds": training.seconds,
        **utilisation(bundle / "checkpoint" / "dry_run.json", training.seconds),
        "megabytes": {path.name: path.stat().st_size / 1e6 for path in sorted(bundle.glob("*.onnx"))},
    }, []


def utilisation(dry_run: Path, seconds: float) -> Numbers:
    """Rates of a training of so many seconds, as shares of what its dry run measured; nothing where there was none."""
    if not dry_run.is_file():
        return {}
    found = json.loads(dry_run.read_text())
    steps = [stage["steps"] for stage in found["provenance"]["config"]["stages"]]
    rate = sum(n * each["step"]["operations"] for n, each in zip(steps, found["stages"], strict=True)) / seconds
    return {
        "images_per_second": sum(n * each["images"] for n, each in zip(steps, found["stages"], strict=True)) / seconds,
        "teraflops_per_second": rate / 1e12,
        "model_flop_utilisation": rate / found["roofline"]["operations"],
    }


def _indexed(bundle: Path) -> tuple[Numbers, list[Target]]:
    manifest = read_manifest(bundle)
    record = manifest.index
    size = sum((bundle / name).stat().st_size for name in manifest.files)
    return {"bundle_megabytes": size / 1e6, **(record.model_dump() if record else {})}, []


def read_evaluation(bundle: Path, goal: Goal | None) -> tuple[Numbers, list[Target]]:
    """From the report of a full evaluation, else from the manifest that a quick one was recorded in."""
    report = bundle / "report" / "report.json"
    if not report.is_file():
        accuracy = read_manifest(bundle).accuracy
        return (accuracy.model_dump() if accuracy else {}), []
    found = json.loads(report.read_text())
    clean = found["clean"]
    robust = [threat for threat in found["threats"] if threat["knowledge"] == "bank known"]
    numbers = {
        "clean": clean,
        "attacked_images": found["attacked_images"],
        "robust": [{part: threat[part] for part in ("norm", "epsilon", "robust")} for threat in robust],
        "sanity_checks_failed": [check["name"] for check in found["sanity_checks"] if not check["passed"]],
    }
    failed = Target("sanity checks failed", len(numbers["sanity_checks_failed"]), 0, at_least=False)
    if goal is None:
        return numbers, [failed]
    wanted = {ball(text): (f"robust at {text}", bound) for text, bound in goal.robust.items()}
    targets = [Target("clean accuracy", clean["value"], goal.clean, at_least=True)]
    for each in robust:
        name, bound = wanted.get(ThreatModel(each["norm"], each["epsilon"]), ("", 0.0))
        if name:
            targets.append(Target(name, each["robust"]["value"], bound, at_least=True))
    targets.append(failed)
    return numbers, targets
