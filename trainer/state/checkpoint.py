"""Checkpoints: safetensors for the tensors, JSON in its header for the rest.

One file, or one that names its parts, because two files could be of different moments after a crash (see `tensor_file`). No
random state is kept: every step draws from a generator seeded with the run's seed and the step's number, so the position is
the state.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from holdfast.errors import HoldfastError
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.encoders.recorded import recorded_encoder
from holdfast.trainer.state.record import completed, flat, plain
from holdfast.trainer.tensors import tensor_file
from holdfast.trainer.tensors.compact import compacted, restored

FILE = Path("checkpoint") / "latest.safetensors"

# These may differ between a run and its continuation: they say where it runs and what is done after, not what is trained.
FREE = {
    *("out", "data_dir", "device", "compile", "checkpoint_every", "keep_every", "log_every", "whitening", "half"),
    *("checkpoint_part", "checkpoint_precision", "resume", "resume_if_any", "minutes", "start_from", "estimate_cost"),
    *("continue_with", "outlier_p", "memory", "decoders"),
}
# And these besides between a run and another that starts from its stages: they only describe the bundle.
FREE_AT_START = FREE | {"arrived", "threads", "stages", "norm", "epsilon", "k", "weighting", "temperature", "surrogate_tau"}


class CheckpointError(HoldfastError):
    """There is no checkpoint, it is damaged, or it belongs to another run."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a run has come: `step` steps of stage number `stage` are done, after `seconds` of training."""

    stage: int
    step: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint as read: its position, the configuration of its run (see `completed`), and all tensors by name."""

    position: Position
    config: dict[str, Any]
    data_sha256: str
    tensors: dict[str, Tensor]

    def restore(
        self,
        encoder: nn.Module,
        objective: nn.Module,
        optimiser: torch.optim.Optimizer | None = None,
        mean: nn.Module | None = None,
    ) -> None:
        """Load the weights; and the optimiser's moments and the mean of the weights, where they are given."""
        encoder.load_state_dict(self.part("encoder."))
        objective.load_state_dict(self.part("objective."))
        if optimiser is not None:
            restore_moments(optimiser, self.part("optimiser."))
        if mean is not None:
            mean.load_state_dict(self.part("mean."))

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with `prefix`, without it."""
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


def save(config: TrainConfig, data_sha256: str, position: Position, parts: dict[str, dict[str, Tensor]]) -> None:
    """Write the checkpoint into `config.out`, whole or not at all.

    `parts` are the states by name of "encoder", "objective", "optimiser" (see `moments`), and perhaps "mean".
    """
    header = {"position": asdict(position), "config": plain(config), "data_sha256": data_sha256}
    part = int(config.checkpoint_part * 2**20)
    tensor_file.write(config.out / FILE, named(parts, config.checkpoint_precision), header, part=part)


def keep(config: TrainConfig, data_sha256: str, position: Position, parts: dict[str, dict[str, Tensor]]) -> None:
    """Write a snapshot into `config.out`, which nothing overwrites: as `save`, without what only a continuation needs."""
    header = {"position": asdict(position), "config": plain(config), "data_sha256": data_sha256}
    kept = {name: state for name, state in parts.items() if name in {"encoder", "objective"}}
    path = config.out / snapshot_file(config.stages[position.stage].name, position.step)
    tensor_file.write(path, named(kept, config.checkpoint_precision), header)


def snapshot_file(stage: str, step: int) -> Path:
    """Where the snapshot of a step (from 1) of a stage lies in a run's directory."""
    return Path("snapshots") / f"{stage}-{step:06}.safetensors"


def named(parts: dict[str, dict[str, Tensor]], precision: Literal["float32", "float16"]) -> dict[str, Tensor]:
    """The tensors that a checkpoint of such a precision holds, by their names in it."""
    tensors = {f"{part}.{name}": tensor for part, state in parts.items() for name, tensor in state.items()}
    return tensors if precision == "float32" else compacted(tensors)


def states_of(
    encoder: nn.Module, objective: nn.Module, optimiser: torch.optim.Optimizer, mean: nn.Module | None
) -> dict[str, dict[str, Tensor]]:
    """All that a run within a stage must keep, as `save` takes it."""
    states = {"encoder": encoder.state_dict(), "objective": objective.state_dict(), "optimiser": moments(optimiser)}
    return states | ({"mean": mean.state_dict()} if mean else {})


def as_kept(module: nn.Module, precision: Literal["float32", "float16"]) -> dict[str, Tensor]:
    """The state of an encoder or an objective as it comes back from a checkpoint of such a precision."""
    kept = restored(named({"module": module.state_dict()}, precision))
    return {name.removeprefix("module."): tensor for name, tensor in kept.items()}


def load(directory: Path, file: Path = FILE) -> Checkpoint:
    """Read `directory`/checkpoint/latest.safetensors, and its parts if it has any; or another file of the run, a snapshot.

    Raises:
        CheckpointError: it does not exist, is damaged, or was not written by holdfast.

    """
    path = directory / file
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint: {path} does not exist")
    try:
        header, tensors = tensor_file.read(path)
        config = completed(header["config"])
        return Checkpoint(Position(**header["position"]), config, header["data_sha256"], restored(tensors))
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or not a checkpoint of holdfast: {error}") from error


def load_encoder(directory: Path) -> ImageEncoder:
    """The encoder of the last checkpoint of the run in `directory`: on the CPU, in evaluation mode, frozen.

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged.

    """
    found = load(directory)
    try:
        return recorded_encoder(found.config["encoder"], found.part("encoder."), directory)
    except (KeyError, TypeError, RuntimeError, OSError) as error:
        raise CheckpointError(
            f"the checkpoint in {directory} holds no encoder that this holdfast can build: {error}"
        ) from error


def checkpoint_to_resume(config: TrainConfig, data_sha256: str) -> Checkpoint | None:
    """The checkpoint that `config` asks to resume or to start from; None for a run of its own.

    Raises:
        CheckpointError: it does not exist, or is of another training.

    """
    if config.resume and config.start_from:
        raise CheckpointError("--resume continues the run itself, --start-from begins with another one: choose one")
    if resumes(config):
        found = load(config.out)
        refuse_another(found, config, data_sha256)
        return found
    if config.start_from is None:
        return None
    found = load(config.start_from)
    refuse_another(found, config, data_sha256, free=FREE_AT_START)
    stages = found.config["stages"]
    if stages != plain(config)["stages"][: len(stages)]:
        raise CheckpointError(f"the stages of {config.start_from} are not the first of this run's")
    if found.position.stage + 1 != len(stages) or found.position.step != stages[-1]["steps"]:
        raise CheckpointError(f"{config.start_from} is not finished: finish it with --resume")
    return found


def resumes(config: TrainConfig) -> bool:
    """Whether the run goes on from a checkpoint of its own."""
    return config.resume or (config.resume_if_any and (config.out / FILE).is_file())


def refuse_another(found: Checkpoint, config: TrainConfig, data_sha256: str, *, free: set[str] = FREE) -> None:
    """Compare what a checkpoint was trained for with what is asked for now.

    Raises:
        CheckpointError: naming each field that differs, with both values.

    """
    before, now = (flat({k: v for k, v in c.items() if k not in free}) for c in (found.config, plain(config)))
    before["data.sha256"], now["data.sha256"] = found.data_sha256, data_sha256
    for each in (before, now):
        each.pop("encoder.graph", None)  # where it lies; its hash is compared
    lines = [
        f"  {name}: {before.get(name, 'absent')} there, {now.get(name, 'absent')} now"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if lines:
        raise CheckpointError("\n".join(["the checkpoint is of another training:", *lines]))


def moments(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as named tensors: "7.exp_avg" belongs to parameter 7 in the order of its groups."""
    state = optimiser.state_dict()["state"]
    return {f"{index}.{name}": value for index, entry in state.items() for name, value in entry.items()}


def restore_moments(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Inverse of `moments`, in the memory layout of the parameters: fused optimisers walk all of them side by side."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        alike = name != "step" and value.shape == parameters[int(index)].shape
        state.setdefault(int(index), {})[name] = torch.empty_like(parameters[int(index)]).copy_(value) if alike else value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
