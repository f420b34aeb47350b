"""A run that goes on from another's last step, weights, heads and the optimiser's moments included.

The checkpoints of one fine-tuning are rows of the table, and each a bundle of its own. Under a constant learning rate
the first 50 steps of 100 are those of 50, so what trained for 50 becomes a checkpoint of what trains for 100, and the
row at step 100 is exactly what an uninterrupted run would have been at step 100.
"""

import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from holdfast.bundle.reader import TRAINING_LOG
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.state import checkpoint
from holdfast.trainer.state.checkpoint import FREE_AT_START, Checkpoint, CheckpointError
from holdfast.trainer.state.record import plain


def continue_from(source: Path, config: TrainConfig, data_sha256: str) -> None:
    """Write the last checkpoint of the run in `source` into `config.out`, as one that `config` can be resumed from.

    Raises:
        CheckpointError: `source` has none, is not finished, or was trained for something that does not begin `config`.

    """
    found = checkpoint.load(source)
    checkpoint.refuse_another(found, config, data_sha256, free=FREE_AT_START)
    before = found.config["stages"]
    now = plain(config)["stages"][: len(before)]
    if len(now) < len(before) or before[:-1] != now[:-1] or not _is_beginning(before[-1], now[-1]):
        raise CheckpointError(f"what {source} was trained for is not how {config.out} begins")
    if (found.position.stage + 1, found.position.step) != (len(before), before[-1]["steps"]):
        raise CheckpointError(f"{source} is not finished: finish it first")
    config.out.mkdir(parents=True, exist_ok=True)
    if (source / TRAINING_LOG).is_file():
        shutil.copyfile(source / TRAINING_LOG, config.out / TRAINING_LOG)
    checkpoint.save(config, data_sha256, found.position, _parts(found))


def _is_beginning(short: dict[str, Any], long: dict[str, Any]) -> bool:
    """Whether a stage is another's beginning: the same, or shorter at the same constant rate."""
    if short == long:
        return True
    return long["schedule"] == "constant" and short["steps"] < long["steps"] and short == long | {"steps": short["steps"]}


def _parts(found: Checkpoint) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in found.tensors.items():
        part, rest = name.split(".", 1)
        parts.setdefault(part, {})[rest] = tensor
    return parts
