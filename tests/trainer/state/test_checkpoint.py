import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import build_encoder
from holdfast.trainer.objectives import DeaclConfig, SequentialConfig, build_objective
from holdfast.trainer.presets import DIGITS, PRESETS
from holdfast.trainer.state import checkpoint
from holdfast.trainer.state.checkpoint import CheckpointError, Position
from holdfast.trainer.state.record import config_from, plain
from holdfast.trainer.tensors import tensor_file


def optimised() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    return layer, optimiser


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return replace(DIGITS, out=tmp_path)


def save(config: TrainConfig) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    layer, optimiser = optimised()
    states = {"encoder": layer.state_dict(), "objective": {}, "optimiser": checkpoint.moments(optimiser)}
    checkpoint.save(config, "abc", Position(1, 20, 3.5), states)
    return layer, optimiser


def test_what_is_saved_comes_back(config: TrainConfig) -> None:
    layer, optimiser = save(config)
    found = checkpoint.load(config.out)
    assert found.position == Position(1, 20, 3.5)
    checkpoint.refuse_another(found, config, "abc")
    other = torch.nn.Linear(3, 2)
    fresh = torch.optim.Adam(other.parameters())
    found.restore(other, torch.nn.Module(), fresh)
    for net, adam in ((layer, optimiser), (other, fresh)):
        net(torch.ones(1, 3)).square().sum().backward()
        adam.step()
        adam.zero_grad()
    layer_moments, other_moments = checkpoint.moments(optimiser), checkpoint.moments(fresh)
    assert layer_moments.keys() == other_moments.keys()
    assert layer_moments["0.step"] == other_moments["0.step"] == 2


def test_a_failed_save_leaves_the_old_checkpoint(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    save(config)
    before = (config.out / checkpoint.FILE).read_bytes()

    def half_written(_tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(tensor_file, "save_file", half_written)
    with pytest.raises(OSError, match="disk full"):
        save(config)
    assert (config.out / checkpoint.FILE).read_bytes() == before
    assert [path.name for path in (config.out / "checkpoint").iterdir()] == ["latest.safetensors"]


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"\x08\0\0\0\0\0\0\0{}      "])
def test_damage_is_said_to_be_damage(config: TrainConfig, damage: bytes) -> None:
    path = config.out / checkpoint.FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(damage)
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(config.out)


def test_truncation_is_damage(config: TrainConfig) -> None:
    save(config)
    path = config.out / checkpoint.FILE
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(config.out)


def test_absence_is_said_to_be_absence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        checkpoint.load(tmp_path)


def test_moments_come_back_in_the_layout_of_their_parameters() -> None:
    layer = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(layer.parameters(), 0.1, momentum=0.9)
    layer(torch.ones(1, 3, 5, 5)).sum().backward()
    optimiser.step()
    kept = {name: tensor.contiguous() for name, tensor in checkpoint.moments(optimiser).items()}
    fresh = torch.optim.SGD(layer.parameters(), 0.1, momentum=0.9)
    checkpoint.restore_moments(fresh, kept)
    momentum = fresh.state[layer.weight]["momentum_buffer"]
    assert momentum.stride() == layer.weight.stride()
    assert torch.equal(momentum, kept["0.momentum_buffer"])


@pytest.mark.parametrize("name", ["cifar10-resnet18", "cifar10-resnet18-label-free"])
def test_the_flagships_state_is_at_most_64_mib(name: str) -> None:
    """The student, its optimiser's memory, and the mean of its weights or its teacher."""
    run = PRESETS[name][1]
    with torch.device("meta"):
        encoder = build_encoder(run.encoder)
        objectives = [build_objective(stage.objective, encoder, 10) for stage in run.stages]
    for stage, objective in zip(run.stages, objectives, strict=True):
        learned = [p for p in (*encoder.parameters(), *objective.parameters()) if p.requires_grad]
        moments = ("momentum_buffer",) if stage.optimiser == "sgd" else ("exp_avg", "exp_avg_sq")
        optimiser = {f"{i}.{moment}": p for i, p in enumerate(learned) for moment in moments}
        states = {"encoder": encoder.state_dict(), "objective": objective.state_dict(), "optimiser": optimiser}
        if stage.average:
            states["mean"] = encoder.state_dict()
        real = {part: {k: torch.zeros(v.shape, dtype=v.dtype) for k, v in state.items()} for part, state in states.items()}
        assert tensor_file.size_of(checkpoint.named(real, run.checkpoint_precision).values()) < 60 * 2**20


@pytest.mark.parametrize("name", PRESETS)
def test_what_a_run_was_asked_is_read_back_from_its_record(name) -> None:
    _, preset = PRESETS[name]
    sequential = Stage("more", SequentialConfig(DeaclConfig(steps=9), anchor=2.0), 3, chunk=1)
    for config in (preset, replace(preset, data_dir=Path("a/b"), stages=(*preset.stages, sequential))):
        record = json.loads(json.dumps(plain(config)))
        assert config_from(record) == config
        del record["stages"][-1]["chunk"], record["stream"]
        assert config_from(record).stages[-1].chunk is None
        with pytest.raises((KeyError, TypeError)):
            config_from({**record, "unheard of": 1})
