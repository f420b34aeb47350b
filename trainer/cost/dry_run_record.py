"""What a dry run found, kept beside the checkpoint: of a run in slices, only the first one takes the steps."""

import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from holdfast.data.streaming.training import ImagePart
from holdfast.files import write_atomically
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.cost.counting import OperationCount
from holdfast.trainer.cost.dry_run import DryRun, StageDryRun, dry_run
from holdfast.trainer.cost.roofline import Roofline
from holdfast.trainer.loop.device import device_of
from holdfast.trainer.state.checkpoint import FREE
from holdfast.trainer.state.record import plain

FILE = Path("checkpoint") / "dry_run.json"
COSTS_NOTHING = FREE - {"checkpoint_precision"}
"""Fields that change neither a step nor what it leaves in a checkpoint. The device is compared by its name."""


def cached_dry_run(config: TrainConfig, images: ImagePart) -> DryRun:
    """What `dry_run` finds; or has found before, where the run was the same, and the machine.

    Args:
        config: the run; the findings are kept in its `out`.
        images: what it will be trained on.

    """
    path, provenance = config.out / FILE, _provenance(config, images)
    found = _read(path, provenance, config)
    if found is None:
        found = dry_run(config, images)
        stages = [{name: value for name, value in asdict(each).items() if name != "stage"} for each in found.stages]
        record = {"provenance": provenance, "roofline": asdict(found.roofline), "stages": stages}
        write_atomically(path, (json.dumps(record, indent=2) + "\n").encode())
    return found


def _read(path: Path, provenance: dict[str, Any], config: TrainConfig) -> DryRun | None:
    """None where there is no record, or one of another run, or a damaged one: another dry run takes seconds."""
    try:
        record = json.loads(path.read_bytes())
        if record["provenance"] != provenance:
            return None
        pairs = zip(config.stages, record["stages"], strict=True)
        stages = tuple(StageDryRun(stage=stage, **(kept | {"step": OperationCount(**kept["step"])})) for stage, kept in pairs)
        return DryRun(stages, Roofline(**record["roofline"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _provenance(config: TrainConfig, images: ImagePart) -> dict[str, Any]:
    device = device_of(config)
    # A GPU is as fast on another host; the name of a CPU does not say how fast it is.
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU of {platform.node()}"
    asked = {name: value for name, value in plain(config).items() if name not in COSTS_NOTHING}
    found: dict[str, Any] = {"config": asked, "images": len(images), "machine": machine, "torch": str(torch.__version__)}
    return found
