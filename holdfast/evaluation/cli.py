"""python -m holdfast.evaluation BUNDLE: measure a bundle, print the result, record it."""

import math
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from holdfast.attacks.adaptive import AdaptiveAttack
from holdfast.bundle.reader import read_manifest
from holdfast.bundle.threat_model import ThreatModel
from holdfast.errors import HoldfastError
from holdfast.evaluation.console import table, tell
from holdfast.evaluation.full import evaluate_fully
from holdfast.evaluation.options import PROGRAM, TEACHING, EvaluateConfig, check, settings_of
from holdfast.evaluation.quick import Evaluation, evaluate
from holdfast.evaluation.recorded import record, record_accuracy, recorded_splits, unseen_images
from holdfast.evaluation.report import write_report
from holdfast.evaluation.report.writing import PAGE
from holdfast.exit_status import CHECKS_FAILED, DONE, GOES_ON, exit_status


def main(arguments: Sequence[str] | None = None, *, load_encoder: Any = None) -> int:  # noqa: ARG001 - to come
    """Run the command line; returns the exit status."""
    begun = time.monotonic()
    config = tyro.cli(EvaluateConfig, args=arguments, prog=PROGRAM, description=TEACHING)
    words = sys.argv[1:] if arguments is None else arguments
    console = Console()

    def measure() -> int:
        check(config)
        torch.set_num_threads(config.threads)
        if config.full:
            return run_full(config, console, shlex.join([*PROGRAM.split(), *words]), begun)
        run(config, console)
        return DONE

    return exit_status("holdfast evaluate", measure, again=GOES_ON if config.full else "")


def run(config: EvaluateConfig, console: Console) -> Evaluation:
    """Evaluate in one ball, print the table and, if asked, record it."""
    manifest = read_manifest(config.bundle)
    own = manifest.threat_model
    threat = ThreatModel(config.norm or own.norm, own.epsilon if config.epsilon is None else config.epsilon)
    with _progress(console) as progress:
        evaluation = evaluate(
            config.bundle,
            unseen_images(manifest, config.data_dir),
            encoder=config.source.open(config.bundle),
            threat=threat,
            attack=AdaptiveAttack(steps=config.steps or 40, restarts=config.restarts or 1, batch_size=config.batch_size),
            limit=config.images or None,
            seed=config.seed,
            threads=config.threads,
            serve_on=config.serve_on,
            serve_in=config.serve_in,
            progress=progress,
        )
    console.print(table(manifest.name, evaluation))
    if config.record:
        record(config.bundle, evaluation)
        console.print(f"recorded in {config.bundle}/manifest.json", highlight=False)
    return evaluation


def run_full(config: EvaluateConfig, console: Console, command: str, begun: float) -> int:
    """Evaluate in every ball, write the report, print what it says; returns the exit status.

    `begun` is when this invocation was, by `time.monotonic`.

    Raises:
        TimeUpError: its minutes are over; the work is kept.

    """
    manifest = read_manifest(config.bundle)
    settings = settings_of(config, manifest)
    if config.record and manifest.threat_model.model() not in settings.balls:
        own = manifest.threat_model
        raise HoldfastError(f"--record is of the bundle's own ball: add {own.norm}:{own.epsilon} to --balls")
    work = config.options.work or Path(f"{config.bundle.resolve()}.evaluation")
    with _progress(console) as progress:
        evaluated = evaluate_fully(
            config.bundle,
            recorded_splits(manifest, config.data_dir),
            settings,
            work=work,
            gradients=config.source,
            transfer_from=config.options.transfer_from,
            command=command,
            progress=progress,
            until=begun + 60 * (config.options.minutes or math.inf),
        )
    write_report(config.bundle, evaluated.report)
    if config.record and evaluated.accuracy is not None:
        record_accuracy(config.bundle, evaluated.accuracy)
    tell(evaluated.report, console)
    console.print(f"report: {config.bundle / PAGE}    work, no longer needed: {work}", markup=False, highlight=False)
    return DONE if evaluated.report.passed else CHECKS_FAILED


def _progress(console: Console) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console)
