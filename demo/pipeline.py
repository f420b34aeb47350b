"""What is made of each encoder, from its preset to a measured bundle: train, export, index, attack."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from holdfast.bundle.reader import read_manifest
from holdfast.data import Splits
from holdfast.errors import HoldfastError
from holdfast.evaluation import Evaluation, evaluate, record
from holdfast.index_build.build import build_index
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.export.bundle import write_bundle
from holdfast.trainer.presets import PRESETS
from holdfast.trainer.train import Trained, train


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
        return replace(preset, out=out / self.name, start_from=start)


# The last is the product; the others are what it is compared with: same data, same network, same kNN, same attack.
ENTRIES = (
    Entry("supervised", "digits-supervised"),
    Entry("self-supervised", "digits-self-supervised"),
    Entry("ssat", "digits", starts_from="self-supervised"),
)


def export_entry(entry: Entry, out: Path, splits: Splits, console: Console) -> None:
    """Make a bundle of an entry whose training is finished; its weights are those of the checkpoint.

    Args:
        entry: which encoder.
        out: directory of the demo; the bundle goes to `out / entry.name`.
        splits: the data that it was trained on.
        console: where it says what it does.

    """
    config = entry.config(out)
    trained = train(replace(config, resume=True, start_from=None), splits)
    command = shlex.join(["python", "-m", "trainer", entry.preset, "--out", str(config.out)])
    complete(config, splits, trained, command, console)


def attack_entry(
    entry: Entry, out: Path, splits: Splits, images: int, *, threads: int = 1, progress: Progress | None = None
) -> Evaluation:
    """Attack the bundle of an entry on `images` test images, and record what came of it in its manifest.

    Whatever the number of `threads`, the outcome is the same.
    """
    evaluation = evaluate(out / entry.name, splits.test, limit=images, threads=threads, progress=progress)
    record(out / entry.name, evaluation)
    return evaluation


def complete(config: TrainConfig, splits: Splits, trained: Trained, command: str, console: Console) -> None:
    """Export and index what was trained, by `command`, for `config`."""
    name = config.out.name
    console.print(f"{name}: exporting, and comparing the graphs with torch", highlight=False)
    write_bundle(config, splits, trained, command)
    console.print(f"{name}: embedding and indexing the exemplars", highlight=False)
    build_index(config.out, splits, command=f"python -m index_build {config.out}", quiet=True)


def is_made(config: TrainConfig, splits: Splits) -> bool:
    """Whether `config.out` holds a complete bundle of this data set, from an earlier run."""
    try:
        manifest = read_manifest(config.out)
    except HoldfastError:
        return False
    return manifest.index is not None and manifest.training.data.sha256 == splits.sha256
