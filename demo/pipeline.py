"""What is made of each encoder, from its preset to a measured bundle: train, export, index, attack."""

import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from rich.progress import BarColumn, TimeElapsedColumn

from holdfast.attacks.adaptive import AdaptiveAttack
from holdfast.bundle.reader import read_manifest
from holdfast.console import Console, Progress, TextColumn
from holdfast.data import Splits
from holdfast.errors import HoldfastError
from holdfast.evaluation import Evaluation, evaluate, record
from holdfast.evaluation.gradients import GradientOptions
from holdfast.index_build.build import build_index
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.export.bundle import write_bundle
from holdfast.trainer.export.trained import load_trained
from holdfast.trainer.presets import PRESETS
from holdfast.trainer.train import Trained, train

TRAINING_THREADS = 2
"""On any machine: each learns from its part of a batch, so their number is a part of what the weights come to."""

MOST_THREADS = 4
"""That attack side by side: a few hundred images make few batches."""

ATTACKED_AT_ONCE = 100
"""Images in a batch. All 400 are four batches of one size, which two or four threads share evenly."""

GRADIENTS = GradientOptions("torch", device="cpu")
"""From the encoder that was just trained: a quarter less time than from gradient.onnx, and the answers as served decide."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the demo's table: an encoder, by the preset that trains it."""

    name: str
    preset: str
    starts_from: str | None = None

    def config(self, out: Path) -> TrainConfig:
        """The preset, with its bundle in `out / name`; shared stages are taken from the entry it starts from."""
        _, preset = PRESETS[self.preset]
        start = None if self.starts_from is None else out / self.starts_from
        return replace(preset, out=out / self.name, start_from=start, threads=TRAINING_THREADS)


# The last is the product; the others are what it is compared with: same data, same network, same kNN, same attack.
ENTRIES = (
    Entry("supervised", "digits-supervised"),
    Entry("self-supervised", "digits-self-supervised"),
    Entry("ssat", "digits", starts_from="self-supervised"),
)


def run_entry(entry: Entry, out: Path, splits: Splits, images: int, console: Console) -> Evaluation:
    """Train, export, index and attack one entry; what an earlier run of the demo made already is used again.

    Args:
        entry: which encoder.
        out: directory of the demo; the bundle goes to `out / entry.name`.
        splits: the data.
        images: test images to attack.
        console: where progress goes.

    """
    config = entry.config(out)
    if not is_made(config, splits):
        trained = train(config, splits, console=console)
        typed = ["python", "-m", "trainer", entry.preset, "--threads", str(config.threads), "--out", str(config.out)]
        complete(config, splits, trained, shlex.join(typed), console)
    threads = min(MOST_THREADS, len(os.sched_getaffinity(0)))
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        evaluation = evaluate(
            config.out,
            splits.test,
            encoder=GRADIENTS.open(config.out, load_trained),
            attack=AdaptiveAttack(batch_size=ATTACKED_AT_ONCE),
            limit=images,
            threads=threads,  # whatever their number, the outcome is the same
            progress=progress,
        )
    record(config.out, evaluation)
    return evaluation


def complete(config: TrainConfig, splits: Splits, trained: Trained, command: str, console: Console) -> None:
    """Export and index what was trained, by `command`, for `config`."""
    with console.status("exporting, and comparing the graphs with torch"):
        write_bundle(config, splits, trained, command)
    with console.status("embedding and indexing the exemplars"):
        build_index(config.out, splits, command=f"python -m index_build {config.out}", quiet=True)


def is_made(config: TrainConfig, splits: Splits) -> bool:
    """Whether `config.out` holds a complete bundle of this data set, from an earlier run."""
    try:
        manifest = read_manifest(config.out)
    except HoldfastError:
        return False
    return manifest.index is not None and manifest.trained.data.sha256 == splits.sha256
