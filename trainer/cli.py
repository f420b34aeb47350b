"""python -m trainer [PRESET] [--FLAG VALUE ...]: train an encoder and write its bundle."""

import os
import shlex
import sys
import time
from collections.abc import Sequence

import torch
import tyro
from rich.console import Console
from rich.table import Table

from bundle.errors import HoldfastError
from data import Splits, load
from trainer.config import TrainConfig
from trainer.encoders import build_encoder, cost_of
from trainer.hardware import device_of, precision_of
from trainer.presets import DEFAULT, PRESETS
from trainer.train import TimeUpError, train
from trainer.write_bundle import told, write_bundle

TEACHING = f"""Train an encoder and write its bundle, which python -m index_build then completes.

  python -m trainer                                     the default, {DEFAULT}: needs no download
  python -m trainer cifar10-small --data-dir DIR        a preset; DIR holds cifar-10-batches-bin/
  python -m trainer digits --out runs/mine --stages.1.steps 300 --stages.1.objective.epsilon 0.1
  python -m trainer digits --resume                     go on after an interruption
  python -m trainer digits --resume-if-any --minutes 9  a slice of it; repeated, the next one
  python -m trainer PRESET --help                       every flag, with its value in that preset

Ends with status 0 when the bundle is written, 1 for what went wrong, 75 when its --minutes are over, 130 when interrupted.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    begun = time.perf_counter()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    console = Console()
    try:
        config = parse(arguments)
        run(config, shlex.join(["python", "-m", "trainer", *arguments]), console, begun)
    except TimeUpError as error:
        console.print(f"{error}; the same command with --resume goes on from there", markup=False, highlight=False)
        return os.EX_TEMPFAIL
    except HoldfastError as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; the same command with --resume goes on from the last checkpoint")
        return 130
    return 0


def parse(arguments: list[str]) -> TrainConfig:
    """The preset with its flags overridden; without a preset, the default one."""
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in {"-h", "--help"}):
        arguments = [DEFAULT, *arguments]
    return tyro.extras.overridable_config_cli(PRESETS, prog="python -m trainer", description=TEACHING, args=arguments)


def run(config: TrainConfig, command: str, console: Console, begun: float) -> None:
    """Load the data, tell the plan, train, export; `begun` is when this invocation was."""
    splits = load(
        config.data,
        directory=config.data_dir,
        size=config.encoder.image_size,
        calibration=config.calibration,
        seed=config.seed,
        skip_unreadable=config.skip_unreadable,
    )
    console.print(plan(config, splits))
    trained = train(config, splits, console=console, begun=begun)
    with console.status("exporting, and comparing the graphs with torch"):
        parity = write_bundle(config, splits, trained, command)
    console.print(
        f"trained in {trained.seconds:.0f} s; encoder.onnx is within {parity.embeddings:.0e} of torch,"
        f" gradient.onnx within {parity.gradients:.0e}\nnext: python -m index_build {config.out}"
    )


def plan(config: TrainConfig, splits: Splits) -> Table:
    """What is going to happen, and how large it is."""
    device = device_of(config)
    precision = "bfloat16" if precision_of(config, device).fast_dtype == torch.bfloat16 else "float32"
    table = Table("", show_header=False)
    table.add_row("data", f"{config.data}: {len(splits.train):,} images of {len(splits.train.class_names)} classes")
    table.add_row("encoder", f"{config.encoder}\n{cost_of(build_encoder(config.encoder))}")
    for number, stage in enumerate(config.stages):
        epochs = stage.steps * stage.batch_size / len(splits.train)
        table.add_row(f"stage {number}", f"{told(stage)} ({epochs:.1f} epochs), learning rate {stage.learning_rate:g}")
    if config.whitening:
        table.add_row("after it", f"whitening by {config.whitening:g}")
    table.add_row("threat model", str(config.threat))
    table.add_row("on", f"{device.type}, {config.threads} threads, {precision}, seed {config.seed}")
    table.add_row("to", str(config.out))
    return table
