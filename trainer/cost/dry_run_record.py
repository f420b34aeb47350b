"""What a rehearsal found, kept beside the checkpoint: a run in slices is rehearsed in the first of them."""

import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from holdfast.data import LabelledImages
from holdfast.files import write_atomically
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.cost.counting import Work
from holdfast.trainer.cost.dry_run import Rehearsal, Rehearsed, rehearse
from holdfast.trainer.cost.roofline import Ceilings
from holdfast.trainer.loop.device import device_of
from holdfast.trainer.state.checkpoint import FREE
from holdfast.trainer.state.record import plain

FILE = Path("checkpoint") / "rehearsal.json"
COSTS_NOTHING = FREE - {"checkpoint_precision"}
"""Fields that change neither a step nor what it leaves in a checkpoint. The device is looked at by its name."""


def rehearsed(config: TrainConfig, images: LabelledImages) -> Rehearsal:
    """What `rehearse` finds; or has found before, where the run was the same, and the machine.

    Args:
        config: the run; the findings are kept in its `out`.
        images: what it will be trained on.

    """
    path, circumstances = config.out / FILE, _circumstances(config, images)
    found = _kept(path, circumstances, config)
    if found is None:
        found = rehearse(config, images)
        stages = [{name: value for name, value in asdict(each).items() if name != "stage"} for each in found.stages]
        record = {"circumstances": circumstances, "ceilings": asdict(found.ceilings), "stages": stages}
        write_atomically(path, (json.dumps(record, indent=2) + "\n").encode())
    return found


def _kept(path: Path, circumstances: dict[str, Any], config: TrainConfig) -> Rehearsal | None:
    """None where there is none, or one of something else, or one that cannot be read: it is found again in seconds."""
    try:
        record = json.loads(path.read_bytes())
        if record["circumstances"] != circumstances:
            return None
        pairs = zip(config.stages, record["stages"], strict=True)
        stages = tuple(Rehearsed(stage=stage, **(kept | {"step": Work(**kept["step"])})) for stage, kept in pairs)
        return Rehearsal(stages, Ceilings(**record["ceilings"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _circumstances(config: TrainConfig, images: LabelledImages) -> dict[str, Any]:
    device = device_of(config)
    # A GPU is as fast on another host; one CPU is not told from another by its name.
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU of {platform.node()}"
    asked = {name: value for name, value in plain(config).items() if name not in COSTS_NOTHING}
    found: dict[str, Any] = {"asked": asked, "images": len(images), "machine": machine, "torch": str(torch.__version__)}
    return found
