"""The full evaluation: ladders in every ball, curves, gates, alarms; from a bundle to its report, with rests on the way."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import Progress

from holdfast.attacks.third_party.library import load
from holdfast.attacks.transfer import FromBundle
from holdfast.bundle.manifest import Accuracy
from holdfast.bundle.reader import MANIFEST
from holdfast.data import Splits
from holdfast.errors import HoldfastError
from holdfast.evaluation import detectors as alarm_section
from holdfast.evaluation.cache import Work
from holdfast.evaluation.context import EvaluationContext, answers_of
from holdfast.evaluation.gradients import GradientOptions
from holdfast.evaluation.progress import ProgressEstimate
from holdfast.evaluation.provenance import circumstances_of, subject_of
from holdfast.evaluation.report import cloud, reliability, selective, training_curves
from holdfast.evaluation.report.gallery import choose, examples
from holdfast.evaluation.report.results import Cloud, Example, Measured, Report, Selective
from holdfast.evaluation.run import Run
from holdfast.evaluation.sanity import measurements as checks
from holdfast.evaluation.settings import Settings
from holdfast.evaluation.threats import Hunted, Part, climb_all, parts_of
from holdfast.intervals import Rate
from holdfast.model.answers import Answers
from holdfast.trainer.loop.log import FILE as LOG

LIBRARIES = ("pyautoattack", "art.attacks.evasion.hop_skip_jump")


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A full evaluation.

    Attributes:
        report: all of it.
        accuracy: within the bundle's own ball, as its manifest keeps it; none where that ball was not among them.

    """

    report: Report
    accuracy: Accuracy | None


def evaluate_fully(
    directory: Path,
    splits: Splits,
    settings: Settings,
    *,
    work: Path,
    gradients: GradientOptions | None = None,
    transfer_from: Sequence[Path] = (),
    command: str = "evaluate_fully",
    progress: Progress | None = None,
    until: float = math.inf,
) -> Evaluated:
    """Attack the bundle in `directory` with all there is, and judge the attack.

    Args:
        directory: a complete bundle.
        splits: of the data set that it was made from; only test images are attacked.
        settings: what is to be done.
        work: a directory for what is done; the same call goes on from there after an interruption, which costs a batch of
            a ladder, or a gate: whichever was under way.
        gradients: where they come from; from the bundle itself by default.
        transfer_from: bundles of other encoders, of the same images and classes.
        command: for the report.
        progress: where to show what is left.
        until: what `time.monotonic` says when to stop: at the first batch, or gate, that is done after it.

    Raises:
        BundleError: see `Bundle.open`, for any of the bundles.
        DeviceError: `settings.serve_on` is "cuda", and the GPU cannot be used.
        TimeUpError: it is later than `until`; all that was done is in `work`.
        HoldfastError: `work` is of another evaluation, a library is not installed, or there are too few images.

    """
    for library in LIBRARIES:
        load(library)
    source = gradients or GradientOptions()
    scene = EvaluationContext.open(
        directory,
        splits,
        images=settings.images,
        seed=settings.seed,
        threads=settings.threads,
        serve_on=settings.serve_on,
        serve_in=settings.serve_in,
        encoder=source.open(directory),
    )
    transfers = [
        FromBundle.open(other, like=scene.bundle, steps=settings.effort.steps, threads=settings.threads)
        for other in transfer_from
    ]
    _check_spare(scene)
    identity = (
        scene.identity | settings.identity | {"transfer from": [step.sha256 for step in transfers], "gradients": source.told}
    )
    kept = Work(work, identity)
    parts = parts_of(settings, scene, transfers)
    run = Run(scene, settings, kept, _outlook(parts, settings, scene, progress), progress, until)
    run.say(f"answers are computed on {scene.bundle.placement}")
    with kept.timed():
        report = _report(run, parts, command)
    return Evaluated(report, _accuracy(report, scene, settings))


def _check_spare(scene: EvaluationContext) -> None:
    """Fail before hours of attack, not after."""
    try:
        _ = scene.without_bank
    except HoldfastError as error:
        raise HoldfastError(
            f"an attacker without the bank needs labelled images that are not attacked: {error}; attack fewer by --images"
        ) from error


def _outlook(
    parts: Sequence[Part], settings: Settings, scene: EvaluationContext, progress: Progress | None
) -> ProgressEstimate:
    images = len(scene.rows)
    left = {part.name: part.cost * images for part in parts}
    return ProgressEstimate(left | checks.expected(settings, images) | alarm_section.expected(settings, images), progress)


def _report(run: Run, parts: Sequence[Part], command: str) -> Report:
    scene = run.scene
    began = time.monotonic()
    # Quick measurements come before the ladders: an encoder that is broken shows soon.
    measured = checks.curves(run)
    hunted = climb_all(parts, run)
    threats = tuple(each.result for each in hunted)
    gates = checks.verdicts(run, threats, measured)
    known = [each for each in hunted if each.part.knowledge == "bank known"]
    shown = _shown(known, scene)
    alarms = alarm_section.alarm_results(run, shown)
    # Only a slice that comes to the end needs the answers to the whole test set, which take a CPU half a minute.
    test = scene.splits.test
    everything = answers_of(scene.classifier.classify, test.images)
    right = everything.labels == test.labels
    before, after = (answers_of(scene.classifier.classify, x) for x in (scene.images, shown.outcome.adversarial))
    return Report(
        subject=subject_of(scene.bundle),
        circumstances=circumstances_of(
            command,
            run.settings.seed,
            run.work.seconds + time.monotonic() - began,
            scene.victim.device,
            scene.served_on,
        ),
        clean=Measured.of(Rate(int(right.sum()), len(right))),
        attacked_images=len(scene.rows),
        threats=threats,
        curves=measured[:2],
        gates=gates,
        alarms=alarms,
        selective=(
            Selective(name="clean", points=selective(everything.credibility, right)),
            *(_selective(each, scene) for each in known),
        ),
        reliability=reliability(everything.credibility, right),
        examples=_examples(shown, scene, (before, after)),
        cloud=_cloud(shown, scene, before, after),
        training=training_curves(scene.bundle.directory / LOG),
    )


def _shown(known: Sequence[Hunted], scene: EvaluationContext) -> Hunted:
    """The ball that pictures are of: the bundle's own, else the largest of its norm, else the largest."""
    own = scene.bundle.manifest.threat_model.model()
    ranked = sorted(known, key=lambda each: (each.part.threat == own, each.part.threat.norm == own.norm, each.result.epsilon))
    return ranked[-1]


def _selective(hunted: Hunted, scene: EvaluationContext) -> Selective:
    answers = answers_of(scene.classifier.classify, hunted.outcome.adversarial)
    points = selective(answers.credibility, answers.labels == scene.labels)
    return Selective(name=f"{hunted.part.threat}", points=points)


def _examples(hunted: Hunted, scene: EvaluationContext, answers: tuple[Answers, Answers]) -> tuple[Example, ...]:
    chosen = choose(hunted.outcome, scene.labels)
    return examples(chosen, scene, hunted.outcome, answers, hunted.part.threat)


def _cloud(hunted: Hunted, scene: EvaluationContext, before: Answers, after: Answers) -> Cloud:
    success = np.asarray(hunted.outcome.success)
    return cloud(before.embeddings, after.embeddings, scene.labels, success, str(hunted.part.threat))


def _accuracy(report: Report, scene: EvaluationContext, settings: Settings) -> Accuracy | None:
    """Of the bundle's own ball, with its bank known; both rates on the attacked images."""
    own = scene.bundle.manifest.threat_model
    for threat in report.threats:
        if (threat.norm, threat.epsilon, threat.knowledge) == (own.norm, own.epsilon, "bank known"):
            effort = settings.effort
            return Accuracy(
                clean=threat.clean.rate.value,
                robust=threat.robust.rate.value,
                norm=threat.norm,
                epsilon=threat.epsilon,
                attack=f"full ladder of {len(threat.steps)} attacks, {effort.steps} gradients, {effort.restarts} restarts,"
                f" {effort.queries} queries; see report/report.json beside this {MANIFEST}",
                images=report.attacked_images,
            )
    return None
