"""holdfast evaluate BUNDLE: measure a bundle, print the result, record it."""

import math
import shlex
import sys
import time
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path

import torch
import tyro
from rich.progress import BarColumn, TimeElapsedColumn

from holdfast.bundle.manifest import Manifest
from holdfast.bundle.reader import read_manifest
from holdfast.console import Console, Progress, TextColumn
from holdfast.errors import HoldfastError, install_command
from holdfast.evaluation.cli.console import answer_tables, print_report, quick_table
from holdfast.evaluation.cli.listening import measure_voices
from holdfast.evaluation.cli.options import DESCRIPTION, PROGRAM, EvaluateConfig, check
from holdfast.evaluation.cli.parts import part_of
from holdfast.evaluation.cli.plans import full_plan_of, quick_plan_of
from holdfast.evaluation.gradients import EncoderLoader
from holdfast.evaluation.pipeline import check_libraries, run_plan
from holdfast.evaluation.plan import EvaluationPlan
from holdfast.evaluation.recorded import record, recorded_splits
from holdfast.evaluation.report import read_report, write_report
from holdfast.evaluation.report.writing import PAGE
from holdfast.evaluation.result import Evaluation
from holdfast.exit_status import CHECKS_FAILED, DONE, GOES_ON, exit_status

GRPC = ("grpc", "grpc_status", "google")
"""What the client needs, and an evaluation of a bundle does not."""


def main(arguments: Sequence[str] | None = None, *, load_encoder: EncoderLoader | None = None) -> int:
    """Run the command line; returns the exit status.

    Args:
        arguments: by default those of the process.
        load_encoder: reads the torch encoder of a training run, for --gradients torch; without it that is refused.

    """
    begun = time.monotonic()
    words = sys.argv[1:] if arguments is None else arguments
    if any(word.partition("=")[0] == "--address" for word in words):
        return _attack_server(words)
    config = tyro.cli(EvaluateConfig, args=arguments, prog=PROGRAM, description=DESCRIPTION)
    console = Console()

    def measure() -> int:
        check(config)
        torch.set_num_threads(config.threads)
        command = shlex.join([*PROGRAM.split(), *words])
        if read_manifest(config.bundle).input.kind == "speech":
            return measure_voices(config, console, command, begun)
        evaluation = run(config, console, command, begun, load_encoder)
        return show_report(config, evaluation, console) if config.full else show_table(config, evaluation, console, command)

    return exit_status(PROGRAM, measure, again=GOES_ON if _in_slices(config) else "")


def _attack_server(words: Sequence[str]) -> int:
    """What is asked over the network needs gRPC, which evaluating a bundle does not."""
    try:
        remote = import_module("holdfast.evaluation.remote")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in GRPC:
            raise
        missing = f"{error.name} is not installed, without which no server can be asked: {install_command('serve')}"
        return exit_status(PROGRAM, partial(_refuse, missing))
    status: int = remote.main(words)
    return status


def _refuse(reason: str) -> int:
    raise HoldfastError(reason)


def run(config: EvaluateConfig, console: Console, command: str, begun: float, load_encoder: EncoderLoader | None) -> Evaluation:
    """Do what the command line asks; `begun` is when this invocation was, by `time.monotonic`.

    Raises:
        TimeUpError: its minutes are over; what is done is kept.

    """
    manifest = read_manifest(config.bundle)
    plan = _plan_of(config, manifest)
    splits = recorded_splits(manifest, config.data_dir)
    if config.full:
        check_libraries()
    encoder = config.source.open(config.bundle, load_encoder)
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        return run_plan(
            config.bundle,
            splits,
            plan,
            encoder=encoder,
            gradients=config.source.description,
            cache=cache_of(config) if _in_slices(config) else None,
            transfer_from=config.options.transfer_from,
            command=command,
            progress=progress,
            until=begun + 60 * (config.options.minutes or math.inf),
        )


def _plan_of(config: EvaluateConfig, manifest: Manifest) -> EvaluationPlan:
    if config.full:
        return full_plan_of(config, manifest)
    part = part_of(config)
    # That there is no report to write into is said before minutes of attack.
    return part.plan(config, manifest, read_report(config.bundle).balls) if part else quick_plan_of(config, manifest)


def show_table(config: EvaluateConfig, evaluation: Evaluation, console: Console, command: str) -> int:
    """Print what was measured and, if asked, record it or write it into the report; returns the exit status."""
    manifest, part = read_manifest(config.bundle), part_of(config)
    if part is None or part.attacks:
        console.print(quick_table(manifest.name, evaluation))
    if part:
        report = part.joined(read_report(config.bundle), evaluation, manifest, command)
        write_report(config.bundle, report)
        for table in answer_tables(report):
            console.print(table)
        console.print(f"report: {config.bundle / PAGE}", markup=False, highlight=False, soft_wrap=True)
    if config.record:
        record(config.bundle, evaluation)
        console.print(f"recorded in {config.bundle}/manifest.json")
    console.print(f"next: holdfast serve {shlex.quote(str(config.bundle))}")
    return DONE


def show_report(config: EvaluateConfig, evaluation: Evaluation, console: Console) -> int:
    """Write the report, print it in short and, if asked, record the accuracy; returns the exit status."""
    report = evaluation.report
    write_report(config.bundle, report)
    if config.record:
        record(config.bundle, evaluation)
    print_report(report, console)
    page, cache = config.bundle / PAGE, cache_of(config)
    console.print(f"report: {page}    cache, no longer needed: {cache}", markup=False, highlight=False)
    return DONE if report.passed else CHECKS_FAILED


def _in_slices(config: EvaluateConfig) -> bool:
    """Whether it takes so long that what is done is kept."""
    asked = bool(config.options.minutes or config.options.cache)
    part = part_of(config)
    return config.full or asked or (part is not None and part.long)


def cache_of(config: EvaluateConfig) -> Path:
    """Where an evaluation that can be interrupted keeps what it has done."""
    part = part_of(config)
    measured = "evaluation" if config.full else part.name if part else "table"
    return config.options.cache or Path(f"{config.bundle.resolve()}.{measured}")
