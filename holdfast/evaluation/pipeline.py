"""From a bundle and a plan to what was measured. The quick table and the full report take the same way."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from holdfast.attacks.pgd import frozen
from holdfast.attacks.quantise import to_pixels
from holdfast.attacks.search.worst_case import WorstCaseAttack
from holdfast.attacks.third_party.library import load
from holdfast.attacks.transfer import FromBundle
from holdfast.bundle.reader import TRAINING_LOG
from holdfast.bundle.threat_model import ThreatModel
from holdfast.console import Progress
from holdfast.data import LabelledImages, Splits
from holdfast.evaluation.cache import ResultCache
from holdfast.evaluation.context import EvaluationContext, only_test
from holdfast.evaluation.gradients import BUNDLES_OWN, EncoderLoader, GradientOptions
from holdfast.evaluation.plan import EvaluationPlan, Section, quick_plan
from holdfast.evaluation.report import training_curves
from holdfast.evaluation.report.provenance import provenance_of, subject_of
from holdfast.evaluation.result import Evaluation
from holdfast.evaluation.run import EvaluationRun
from holdfast.evaluation.sections import estimate_of, measure_all
from holdfast.evaluation.stages.threats import ThreatCase, cases_of
from holdfast.model.device_choice import DeviceChoice, Precision

TIMED, TIMED_PIXELS = 64, 2**18
"""Images whose embedding is timed at most, to say how long all will take, and their pixels: five of 224 x 224."""

LIBRARIES = ("pyautoattack", "art.attacks.evasion.hop_skip_jump")


def evaluate(
    directory: Path,
    test: LabelledImages,
    *,
    encoder: nn.Module | None = None,
    threat: ThreatModel | None = None,
    attack: WorstCaseAttack | None = None,
    limit: int | None = None,
    seed: int = 0,
    threads: int = 1,
    serve_on: DeviceChoice = "cpu",
    serve_in: Precision = "float32",
    progress: Progress | None = None,
) -> Evaluation:
    """Attack the bundle in `directory` on test images that it was never shown, by one attack within one ball.

    Args:
        directory: a complete bundle.
        test: images that follow its input contract, labelled in its classes.
        encoder: the torch module that the bundle was exported from, pixels -> embeddings not yet normalised: gradients
            then come from it, on its device, which pays on a GPU. Without it they come from gradient.onnx: a bundle is
            all it takes, what is attacked is what is served, and on a CPU it is as quick (.5 ms a gradient for a
            27 MMAC encoder, either way, on one core).
        threat: what the attacker is allowed; by default the bundle's own threat model.
        attack: by default all losses of `AdaptiveAttack`.
        limit: attack only so many test images, drawn by `seed`; all by default.
        seed: of that draw and of the attack.
        threads: of ONNX Runtime; and as many batches are attacked side by side, unless that is done on a GPU.
        serve_on: see `open_served`.
        serve_in: likewise.
        progress: where to show a bar.

    Raises:
        BundleError, DeviceError: see `Bundle.open`.
        ContractMismatchError: `encoder` is another one than the bundle's, or images or classes do not fit it.

    """
    plan = quick_plan(threat, attack, images=limit, seed=seed, threads=threads, serve_on=serve_on, serve_in=serve_in)
    return run_plan(directory, only_test(test), plan, encoder=encoder, progress=progress)


def evaluate_fully(
    directory: Path,
    splits: Splits,
    plan: EvaluationPlan,
    *,
    cache: Path,
    gradients: GradientOptions | None = None,
    load_encoder: EncoderLoader | None = None,
    transfer_from: Sequence[Path] = (),
    command: str = "evaluate_fully",
    progress: Progress | None = None,
    until: float = math.inf,
) -> Evaluation:
    """Attack the bundle in `directory` with all there is, and check the evaluation itself; for the arguments see `run_plan`.

    Args:
        directory: a complete bundle.
        splits: of the data set that it was made from.
        plan: what is to be done.
        cache: where it is kept.
        gradients: where they come from; from the bundle itself by default.
        load_encoder: see `GradientOptions.open`.
        transfer_from: bundles of other encoders, of the same images and classes.
        command: for the report.
        progress: where to show what is left.
        until: when to stop.

    Raises:
        HoldfastError: see `run_plan` and `GradientOptions.open`.

    """
    source = gradients or GradientOptions()
    check_libraries()
    return run_plan(
        directory,
        splits,
        plan,
        encoder=source.open(directory, load_encoder),
        gradients=source.description,
        cache=cache,
        transfer_from=transfer_from,
        command=command,
        progress=progress,
        until=until,
    )


def check_libraries() -> None:
    """See that the libraries of the third-party attacks are there, before hours of attack and not after.

    Raises:
        HoldfastError: one is not installed.

    """
    for library in LIBRARIES:
        load(library)


def run_plan(
    directory: Path,
    splits: Splits,
    plan: EvaluationPlan,
    *,
    encoder: nn.Module | None = None,
    gradients: str = BUNDLES_OWN,
    cache: Path | None = None,
    transfer_from: Sequence[Path] = (),
    command: str = "run_plan",
    progress: Progress | None = None,
    until: float = math.inf,
) -> Evaluation:
    """Do what `plan` says.

    Args:
        directory: a complete bundle.
        splits: of the data set that it was made from; only test images are attacked.
        plan: what is to be done.
        encoder: see `evaluate`.
        gradients: where they come from, in words, for a cache.
        cache: a directory for what is done; the same call goes on from there after an interruption, which costs a batch
            of a suite, or a sanity check: whichever was under way. Nothing is kept without one.
        transfer_from: bundles of other encoders, of the same images and classes.
        command: for the report.
        progress: where to show what is left.
        until: what `time.monotonic` says when to stop: at the first batch, or sanity check, that is done after it.

    Raises:
        BundleError: see `Bundle.open`, for any of the bundles.
        DeviceError: `plan.serve_on` is "cuda", and the GPU cannot be used.
        TimeUpError: it is later than `until`; all that was done is in `cache`.
        HoldfastError: `cache` is of another evaluation, or there are too few images.

    """
    began = time.monotonic()
    with frozen(*([encoder] if encoder is not None else [])):
        context = EvaluationContext.open(directory, splits, plan, encoder)
        transfers = [
            FromBundle.open(other, like=context.bundle, steps=plan.effort.steps, threads=plan.threads)
            for other in transfer_from
        ]
        if plan.attack is None and "bank unknown" in plan.knowledge:
            _ = context.without_bank  # Where it cannot be had, that is said before hours of attack, not after.
        kept = ResultCache(cache, None if cache is None else _identity(context, plan, transfers, gradients))
        cases = cases_of(plan, context, transfers)
        run = EvaluationRun(context, plan, kept, estimate_of(cases, context, plan, progress), progress, until)
        run.estimate.pass_seconds = _seconds_of_a_pass(context)
        run.print_line(f"answers are computed on {context.bundle.placement}")
        run.announce()
        with kept.timed():
            return _measure(run, cases, command, began)


def _identity(
    context: EvaluationContext, plan: EvaluationPlan, transfers: Sequence[FromBundle], gradients: str
) -> dict[str, Any]:
    others = {"transfer from": [each.sha256 for each in transfers], "gradients": gradients}
    return context.identity | plan.identity | others


def _seconds_of_a_pass(context: EvaluationContext) -> float:
    """Of the victim's encoder, for each of a few images; the first time is left out, as it prepares what later ones have."""
    _, height, width, _ = context.images.shape
    some = context.images[: max(1, min(TIMED, TIMED_PIXELS // (height * width)))]
    pixels = to_pixels(some, context.victim.device)
    seconds = []
    with torch.no_grad():
        for _ in range(2):
            began = time.monotonic()
            context.victim.embed(pixels).cpu()
            seconds.append(time.monotonic() - began)
    return seconds[-1] / len(pixels)


def _measure(run: EvaluationRun, cases: Sequence[ThreatCase], command: str, began: float) -> Evaluation:
    evaluation = measure_all(run, cases)
    seconds = run.cache.seconds + time.monotonic() - began
    evaluation = replace(evaluation, seconds=seconds)
    if Section.PROVENANCE not in run.plan.sections:
        return evaluation
    bundle, device = run.context.bundle, run.context.victim.device
    return replace(
        evaluation,
        training=training_curves(bundle.directory / TRAINING_LOG),
        subject=subject_of(bundle),
        provenance=provenance_of(command, run.plan.seed, seconds, device, run.context.served_on),
    )
