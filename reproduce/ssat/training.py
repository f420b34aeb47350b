"""Training one row, from where another one or an interrupted call left off; and whether that is done already."""

from dataclasses import replace
from pathlib import Path

import torch

from holdfast.bundle.reader import read_manifest
from holdfast.console import Console
from holdfast.data import Splits
from holdfast.errors import HoldfastError
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.export.bundle import describe_stage
from holdfast.trainer.loop.device import device_of
from holdfast.trainer.loop.networks import build_networks
from holdfast.trainer.state import checkpoint
from holdfast.trainer.state.checkpoint import CheckpointError
from holdfast.trainer.train import Trained, train
from reproduce.arms import is_finished
from reproduce.ssat.continuation import continue_from
from reproduce.ssat.rows import Run


def is_made(run: Run, splits: Splits) -> bool:
    """Whether its folder holds the complete bundle of exactly this training, on exactly these images.

    Raises:
        HoldfastError: it holds another training; nothing is overwritten.

    """
    config = run.config
    try:
        finished = is_finished(config, splits.sha256)
    except CheckpointError as error:
        raise CheckpointError(f"{config.out} cannot be continued; name another --out, or remove it.\n{error}") from error
    try:
        manifest = read_manifest(config.out)
    except HoldfastError:
        return False
    training, vote = manifest.trained, manifest.vote
    there = training.encoder, training.objective, training.seed, training.data.sha256, vote.k, vote.weighting
    objective = ", then ".join(describe_stage(stage) for stage in config.stages)
    wanted = str(config.encoder), objective, config.seed, splits.sha256, config.k, config.weighting
    return finished and there == wanted and manifest.index is not None


def train_row(run: Run, splits: Splits, console: Console, *, source: Path | None = None) -> Trained:
    """Train one row, from where an interrupted call stopped, else from the last step of the run in `source`.

    Raises:
        HoldfastError: see `continue_from` and `train`.

    """
    if source is not None and not _begun(run):
        continue_from(source, run.config, splits.sha256)
    return train(replace(run.config, resume=_begun(run)), splits, console=console)


def _begun(run: Run) -> bool:
    return (run.directory / checkpoint.FILE).is_file()


def encoder_on_gpu(run: Run, splits: Splits) -> ImageEncoder | None:
    """The trained encoder where its training ran, if that is a GPU; None on a CPU, where gradient.onnx is as quick."""
    device = device_of(run.config)
    if device.type == "cpu":
        return None
    encoder, objectives = build_networks(run.config, splits.learned_from, device)
    checkpoint.load(run.directory).restore(encoder, objectives[-1])
    return encoder.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload, no-any-return]
