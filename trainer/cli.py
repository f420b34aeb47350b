"""python -m trainer [PRESET] [--FLAG VALUE ...]: train an encoder and write its bundle."""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import tyro

from holdfast.console import Console
from holdfast.data import load
from holdfast.data.sets import NAMES
from holdfast.exit_status import exit_status, explain_statuses
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.cost.dry_run_record import cached_dry_run
from holdfast.trainer.cost.tables import describe_cost, describe_run, describe_throughput
from holdfast.trainer.export.bundle import write_bundle
from holdfast.trainer.loop.recorder import PausedError
from holdfast.trainer.presets import DEFAULT, FOLDER, PRESETS
from holdfast.trainer.presets.folder import config_of
from holdfast.trainer.train import starting_point, train_from

DESCRIPTION = f"""Train an encoder and write its bundle, which holdfast index then completes.

examples:
  holdfast train                                     the default, {DEFAULT}: needs no download
  holdfast train --data DIR                          your own images, DIR/CLASS/*: preset folder, sized by their number
  holdfast train cifar10-small --data-dir DIR        a preset; DIR holds cifar-10-batches-bin/
  holdfast train digits --out runs/mine --stages.1.steps 300 --stages.1.objective.epsilon 0.1
  holdfast train digits --resume                     go on after an interruption
  holdfast train digits --resume-if-any --minutes 9  a slice of it; repeated, the next one
  holdfast train cifar10-resnet18 --data-dir DIR     the largest one, for a GPU
  holdfast train PRESET --help                       every flag, with its value in that preset

{explain_statuses(0, 1, 2, 75, 130, 143)}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    begun = time.perf_counter()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    console = Console()

    def train() -> None:
        run(parse(arguments), shlex.join(["python", "-m", "trainer", *arguments]), console, begun)

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


def run(config: TrainConfig, command: str, console: Console, begun: float) -> None:
    """Load the data, print what will be done and what it may cost, train, export; `begun` is when this invocation began."""
    splits = load(
        config.data,
        directory=config.data_dir,
        size=config.encoder.image_size,
        calibration=config.calibration,
        seed=config.seed,
        skip_unreadable=config.skip_unreadable,
        max_pixels=config.max_pixels,
        labels=config.labels,
        label_noise=config.label_noise,
    )
    console.print(describe_run(config, splits))
    # Refuse what cannot be trained before the dry run.
    start, dry_run = starting_point(config, splits), None
    if config.estimate_cost:
        with console.status("taking a few steps of every stage, to see what they cost"):
            dry_run = cached_dry_run(config, splits.learned_from)
        console.print(describe_cost(dry_run))
    try:
        trained = train_from(start, config, splits, console=console, begun=begun)
    except PausedError as error:
        console.print(describe_throughput(error.throughputs, dry_run))
        raise
    console.print(describe_throughput(trained.throughputs, dry_run))
    with console.status("exporting, and comparing the graphs with torch"):
        parity = write_bundle(config, splits, trained, command)
    console.print(f"trained in {trained.seconds:.0f} s; {parity}\nnext: holdfast index {shlex.quote(str(config.out))}")
