"""python -m trainer [PRESET] [--FLAG VALUE ...]: train an encoder and write its bundle."""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import tyro

from holdfast.console import Console
from holdfast.data import Splits, load
from holdfast.data.sets import NAMES
from holdfast.data.streaming.training import StreamedTraining, TrainingSplits, open_if_large
from holdfast.data.streams.screening import OUTLIER_P
from holdfast.errors import HoldfastError
from holdfast.exit_status import exit_status, explain_statuses
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.continuing import (
    asked_again,
    begin_continuation,
    default_out,
    describe_screening,
    parent_config,
    resume_continuation,
)
from holdfast.trainer.cost.dry_run_record import cached_dry_run
from holdfast.trainer.cost.tables import describe_cost, describe_run, describe_throughput
from holdfast.trainer.encoders import fitting_of
from holdfast.trainer.export.bundle import write_bundle
from holdfast.trainer.loop.processes import leads, process_group
from holdfast.trainer.loop.recorder import PausedError
from holdfast.trainer.presets import DEFAULT, FOLDER, PRESETS
from holdfast.trainer.presets.folder import config_of
from holdfast.trainer.train import starting_point, train_from

CONTINUE = ("--continue-with", "--continue_with")
CONTINUED = "continued"

DESCRIPTION = f"""Train an encoder and write its bundle, which holdfast index then completes.

examples:
  holdfast train                                     the default, {DEFAULT}: needs no download
  holdfast train --data DIR                          your own images, DIR/CLASS/*: preset folder, sized by their number
  holdfast train --data SHARDS --memory 0            .tar, .parquet or .arrow shards, decoded while they are learned from
  holdfast train cifar10-small --data-dir DIR        a preset; DIR holds cifar-10-batches-bin/
  holdfast train digits --out runs/mine --stages.1.steps 300 --stages.1.objective.epsilon 0.1
  holdfast train digits --resume                     go on after an interruption
  holdfast train digits --resume-if-any --minutes 9  a slice of it; repeated, the next one
  holdfast train cifar10-resnet18 --data-dir DIR     the largest one, for a GPU
  holdfast train runs/digits --continue-with SPOOL   a new run that goes on from a finished one, with images without labels
  holdfast train PRESET --help                       every flag, with its value in that preset

{explain_statuses(0, 1, 2, 75, 130, 143)}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    begun = time.perf_counter()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["robustify"]:
        status: int = import_module("holdfast.trainer.hardening.command").main(arguments[1:])
        return status
    console = Console()

    def train() -> None:
        command = shlex.join(["python", "-m", "trainer", *arguments])
        splits: TrainingSplits
        if any(word.partition("=")[0] in CONTINUE for word in arguments):
            config, splits = parse_continuation(arguments, console)
        else:
            config = parse(arguments)
            splits = open_splits(config)
        try:
            with process_group(config.device):
                run(config, splits, command, console, begun)
        finally:
            if isinstance(splits, StreamedTraining):
                splits.close()

    return exit_status("holdfast train", train, again="the same command with --resume goes on from the last checkpoint")


def parse(arguments: list[str]) -> TrainConfig:
    """The preset with its flags overridden; without a preset that of the data's kind, or the default one.

    Raises:
        DataError: --data is neither the name of a set nor a folder or table that can be used.

    """
    arguments, directory = with_folder(arguments)
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in {"-h", "--help"}):
        arguments = [FOLDER if directory else DEFAULT, *arguments]
    presets = PRESETS
    if directory and arguments[0] == FOLDER:
        about, _ = PRESETS[FOLDER]
        presets = PRESETS | {FOLDER: (about, config_of(directory))}
    return tyro.extras.overridable_config_cli(presets, prog="holdfast train", description=DESCRIPTION, args=arguments)


def parse_continuation(arguments: list[str], console: Console) -> tuple[TrainConfig, Splits]:
    """The run that goes on from a finished one, with its flags overridden, and its labelled set; see `trainer.continuing`.

    What it learns from has been read, and copied into its folder; or lies there already, where it is to be resumed.

    Raises:
        HoldfastError: see `begin_continuation` and `parent_config`; or its folder is that of the finished run.

    """
    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    flags.add_argument(*CONTINUE, type=Path)
    flags.add_argument("--out", type=Path)
    flags.add_argument("--data-dir", "--data_dir", type=Path)
    flags.add_argument("--outlier-p", "--outlier_p", type=float, default=OUTLIER_P)
    for name in ("resume", "resume-if-any", "skip-unreadable"):
        flags.add_argument(f"--{name}", f"--{name.replace('-', '_')}", action="store_true")
    if not arguments or arguments[0].startswith("-"):
        raise HoldfastError("--continue-with goes on from a finished run: holdfast train RUN --continue-with DIR")
    parent, (typed, others) = Path(arguments[0]), flags.parse_known_args(arguments[1:])
    asked = asked_again(parent_config(parent), typed.continue_with, typed.out or default_out(parent), typed.outlier_p)
    if typed.data_dir is not None:
        asked = replace(asked, data_dir=typed.data_dir)
    if asked.out.resolve() == parent.resolve():
        raise HoldfastError(f"{asked.out} is the run itself, which stays as it is: name another directory by --out")
    splits = load_splits(asked)
    resumed = resume_continuation(asked, parent, splits) if typed.resume or typed.resume_if_any else None
    made = resumed or begin_continuation(asked, parent, splits, skip_unreadable=typed.skip_unreadable)
    again = [f"--{name}" for name in ("resume", "resume-if-any") if getattr(typed, name.replace("-", "_"))]
    about = {CONTINUED: (f"{parent}, and what came in since", made.config)}
    config = tyro.extras.overridable_config_cli(about, prog="holdfast train", args=[CONTINUED, *others, *again])
    config = replace(config, start_from=None) if config.resume else config
    if resumed is None:
        replace(made, config=config).keep()
    console.print(f"goes on from {parent} with {made.record.images:,} images; {describe_screening(made.record)}")
    return config, splits


def open_splits(config: TrainConfig) -> TrainingSplits:
    """The set that a run learns from: in memory, or where a folder would take more than `config.memory`, not.

    Raises:
        DataError: as `holdfast.data.load`.
        HoldfastError: it would take more, and can be learned from in memory only.

    """
    if config.data != FOLDER or config.data_dir is None:
        return load_splits(config)
    size = fitting_of(config.encoder)
    streamed = open_if_large(
        config.data_dir,
        size,
        memory=config.memory,
        decoders=config.decoders,
        threads=config.threads,
        calibration=config.calibration,
        seed=config.seed,
        skip_unreadable=config.skip_unreadable,
        max_pixels=config.max_pixels,
    )
    if streamed is None:
        return load_splits(config)
    if config.labels is not None or config.label_noise:
        streamed.close()
        raise HoldfastError("--labels and --label-noise need the whole set in memory: allow it by --memory GB")
    return streamed


def load_splits(config: TrainConfig) -> Splits:
    """The set that a run learns from, in memory."""
    return load(
        config.data,
        directory=config.data_dir,
        size=fitting_of(config.encoder),
        calibration=config.calibration,
        seed=config.seed,
        skip_unreadable=config.skip_unreadable,
        max_pixels=config.max_pixels,
        labels=config.labels,
        label_noise=config.label_noise,
    )


def with_folder(arguments: list[str]) -> tuple[list[str], Path | None]:
    """The arguments with `--data DIR` written as `--data folder --data-dir DIR`, and the folder if they name one."""
    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    flags.add_argument("--data")
    flags.add_argument("--data-dir", "--data_dir", type=Path)
    known, others = flags.parse_known_args(arguments)
    if known.data is None or (known.data in NAMES and known.data != FOLDER):
        return arguments, None
    directory = known.data_dir if known.data == FOLDER else Path(known.data)
    if directory is None:
        return arguments, None
    return [*others, "--data", FOLDER, "--data-dir", str(directory)], directory


def run(config: TrainConfig, splits: TrainingSplits, command: str, console: Console, begun: float) -> None:
    """Print what will be done and what it may cost, train, export; `begun` is when this invocation began."""
    console = console if leads() else Console(quiet=True)
    console.print(describe_run(config, splits))
    # Refuse what cannot be trained before the dry run.
    start, dry_run = starting_point(config, splits), None
    if config.estimate_cost and leads():
        with console.status("taking a few steps of every stage, to see what they cost"):
            dry_run = cached_dry_run(config, splits.learned_from)
        console.print(describe_cost(dry_run))
    try:
        trained = train_from(start, config, splits, console=console, begun=begun)
    except PausedError as error:
        console.print(describe_throughput(error.throughputs, dry_run))
        raise
    console.print(describe_throughput(trained.throughputs, dry_run))
    if not leads():
        return
    with console.status("exporting, and comparing the graphs with torch"):
        parity = write_bundle(config, splits, trained, command)
    console.print(f"trained in {trained.seconds:.0f} s; {parity}\nnext: holdfast index {shlex.quote(str(config.out))}")
