"""python -m trainer.evaluate BUNDLE: measure a bundle, print the result, record it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from bundle.bundle import BundleWriter, read_manifest
from bundle.errors import HoldfastError
from bundle.manifest import Manifest
from bundle.threat_model import Norm, ThreatModel
from data import LabelledImages, load_recorded
from trainer.attacks.adaptive import AdaptiveAttack
from trainer.evaluate.evaluation import Evaluation, evaluate


@dataclass(frozen=True)
class EvaluateConfig:
    """Measure the clean and robust accuracy of a bundle by the adaptive attack, judged on the served vote.

    The bundle is all it takes: embeddings come from its encoder.onnx, gradients from its gradient.onnx, test images from
    the data set that its manifest names.
    """

    bundle: Annotated[Path, tyro.conf.Positional]
    """Directory of a complete bundle."""

    data_dir: Path | None = None
    """Where the data set lies, if no longer where the manifest says."""

    images: int = 1000
    """Test images to attack, drawn by the seed; 0 takes all. At 1,000 the interval is +-3.1 points around 50 %."""

    norm: Norm | None = None
    """Norm of the ball; by default the bundle's threat model."""

    epsilon: float | None = None
    """Radius of the ball in pixels of [0, 1]; by default the bundle's threat model."""

    steps: int = 40
    """Gradients per restart."""

    restarts: int = 1
    """Random starts per loss of the ladder."""

    seed: int = 0
    """Of the draw of images and of the random starts."""

    threads: int = 1
    """Of ONNX Runtime and torch."""

    record: bool = False
    """Write the result into the bundle's manifest."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    config = tyro.cli(EvaluateConfig, args=arguments, prog="python -m trainer.evaluate")
    console = Console()
    try:
        run(config, console)
    except HoldfastError as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return 1
    return 0


def run(config: EvaluateConfig, console: Console) -> Evaluation:
    """Evaluate, print the table and, if asked, record it."""
    torch.set_num_threads(config.threads)
    manifest = read_manifest(config.bundle)
    own = manifest.threat_model
    threat = ThreatModel(config.norm or own.norm, own.epsilon if config.epsilon is None else config.epsilon)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        evaluation = evaluate(
            config.bundle,
            unseen_images(manifest, config.data_dir),
            threat=threat,
            attack=AdaptiveAttack(steps=config.steps, restarts=config.restarts),
            limit=config.images or None,
            seed=config.seed,
            threads=config.threads,
            progress=progress,
        )
    console.print(table(manifest.name, evaluation))
    if config.record:
        record(config.bundle, evaluation)
        console.print(f"recorded in {config.bundle}/manifest.json", highlight=False)
    return evaluation


def unseen_images(manifest: Manifest, directory: Path | None = None) -> LabelledImages:
    """The test part of the data set that a bundle was made from, split as it was then.

    Raises:
        DataError: the set is not there.
        HoldfastError: it is there, but not the one the encoder was trained on: test images may be among its exemplars.

    """
    source = manifest.training.data
    splits = load_recorded(manifest, directory)
    if splits.sha256 != source.sha256:
        raise HoldfastError(
            f"the {source.name} images here have sha256 {splits.sha256}, the bundle was trained on {source.sha256};"
            " name the directory of the right ones by --data-dir"
        )
    return splits.test


def table(name: str, evaluation: Evaluation) -> Table:
    """The result as a person reads it."""
    shown = Table(title=f"{name} under {evaluation.threat}", show_header=False, title_justify="left")
    shown.add_row("clean accuracy", str(evaluation.clean))
    shown.add_row("robust accuracy", str(evaluation.robust))
    shown.add_row("DSR", str(evaluation.dsr))
    shown.add_row("attack", evaluation.attack)
    for rung, count in found_by(evaluation).items():
        shown.add_row(f"  found by {rung}", str(count))
    shown.add_row("surrogate = served", str(evaluation.agreement))
    shown.add_row("images", f"{len(evaluation.labels)}, judged on the served vote; 95 % Wilson intervals")
    shown.add_row("seconds", f"{evaluation.seconds:.1f}")
    return shown


def found_by(evaluation: Evaluation) -> dict[str, int]:
    """How many images each rung of the attack was the first to fool, the most successful one first."""
    return dict(Counter(name for name in evaluation.outcome.found_by if name).most_common())


def record(directory: Path, evaluation: Evaluation) -> None:
    """Write the measured accuracy into the manifest of the bundle in `directory`."""
    manifest = read_manifest(directory)
    BundleWriter.open(directory).commit(manifest.model_copy(update={"accuracy": evaluation.record}))
