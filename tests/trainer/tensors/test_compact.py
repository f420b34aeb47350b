"""A state in fewer bytes: how far it is rounded, and that a run hardly notices."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.attacks.quantise import to_pixels
from holdfast.trainer import train
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import ImageEncoder, ResNetConfig
from holdfast.trainer.loop.recorder import PausedError
from holdfast.trainer.objectives import ClustersConfig, SupervisedConfig
from holdfast.trainer.presets import DIGITS_VIEWS
from holdfast.trainer.state import checkpoint
from holdfast.trainer.tensors.compact import compacted, restored
from holdfast.trainer.tensors.tensor_file import size_of


def large(seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(32, 8, 3, 3, generator=torch.Generator().manual_seed(seed))


@given(seed=st.integers(0, 9999), scale=st.sampled_from([1e-6, 1e-3, 1.0, 100.0]))
@settings(max_examples=20)
def test_rounding_is_as_small_as_promised(seed, scale) -> None:
    state = {
        "encoder.w": large(seed),
        "optimiser.0.momentum_buffer": large(seed, scale),
        "optimiser.0.exp_avg_sq": large(seed, scale).square() * 10.0 ** -torch.arange(32)[:, None, None, None],
    }
    found = restored(compacted(state))
    assert found.keys() == state.keys()
    assert all(tensor.dtype == torch.float32 for tensor in found.values())
    torch.testing.assert_close(found["encoder.w"], state["encoder.w"], rtol=2**-11, atol=1e-7)
    momentum, row = (
        state["optimiser.0.momentum_buffer"],
        state["optimiser.0.momentum_buffer"].abs().amax((1, 2, 3), keepdim=True),
    )
    assert ((found["optimiser.0.momentum_buffer"] - momentum).abs() <= 2**-4 * momentum.abs() + 3e-6 * row).all()
    torch.testing.assert_close(found["optimiser.0.exp_avg_sq"], state["optimiser.0.exp_avg_sq"], rtol=2**-8, atol=1e-38)


def test_rounding_twice_is_rounding_once() -> None:
    state = {"encoder.w": large(), "optimiser.0.exp_avg": large(1), "optimiser.0.exp_avg_sq": large(2).square()}
    once = restored(compacted(state))
    for name, tensor in restored(compacted(once)).items():
        torch.testing.assert_close(tensor, once[name], rtol=1e-6, atol=0)


def test_small_tensors_vectors_integers_and_what_float16_cannot_hold_stay() -> None:
    state = {
        "encoder.bias": torch.randn(2000),
        "encoder.small": torch.randn(3, 5),
        "encoder.n": torch.tensor(3),
        "encoder.huge": large(scale=1e6),
        "optimiser.0.momentum_buffer": torch.zeros(64, 64),
    }
    kept = compacted(state)
    for name in ("encoder.bias", "encoder.small", "encoder.n", "encoder.huge"):
        assert kept[name] is state[name]
    assert not restored(kept)["optimiser.0.momentum_buffer"].any()
    assert torch.equal(restored(state)["encoder.bias"], state["encoder.bias"])


def test_a_state_takes_a_third_to_a_half() -> None:
    weights, momentum = {"encoder.w": large(), "objective.teacher.w": large(1)}, {"optimiser.0.momentum_buffer": large(2)}
    for state, share in ((weights, 0.5), (weights | momentum, 5 / 12)):
        assert size_of(compacted(state).values()) == pytest.approx(share * size_of(state.values()), rel=0.02)


@pytest.fixture
def few(digits):
    return replace(digits, train=digits.train.take(range(500)))


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    clusters = ClustersConfig(prototypes=10, steps=1, epsilon=0.05, step_size=0.05, augment=DIGITS_VIEWS)
    return TrainConfig(
        ResNetConfig(12, 1, 16, activation="silu"),
        (
            Stage("supervised", SupervisedConfig(DIGITS_VIEWS), steps=40, batch_size=50, learning_rate=5e-3),
            Stage("clusters", clusters, steps=12, batch_size=50, optimiser="sgd", learning_rate=0.02),
        ),
        out=tmp_path / "whole",
        precision="float32",
        log_every=1,
        device="cpu",
    )


def neighbours(encoder: ImageEncoder, splits) -> float:
    """Accuracy of the nearest of the training images, over the calibration images."""
    with torch.no_grad():
        bank, asked = (F.normalize(encoder(to_pixels(s.images)), dim=1) for s in (splits.train, splits.calibration))
    nearest = (asked @ bank.T).argmax(1).numpy()
    return float(np.mean(splits.train.labels[nearest] == splits.calibration.labels))


def test_a_run_in_slices_of_rounded_states_is_nearly_the_run_in_one_go(config, few, monkeypatch) -> None:
    whole = train.train(config, few)
    sliced = replace(
        config, out=config.out.with_name("sliced"), checkpoint_precision="float16", checkpoint_part=0.02, resume_if_any=True
    )
    for stop in (10, 25, 5):
        readings = iter([0.0] * stop)
        with monkeypatch.context() as patch:
            patch.setattr(train, "clock", lambda readings=readings: next(readings, 60.0))
            with pytest.raises(PausedError):
                train.train(replace(sliced, minutes=1.0), few)
    rounded = train.train(sliced, few)
    for (name, ours), theirs in zip(rounded.encoder.named_parameters(), whole.encoder.parameters(), strict=True):
        assert F.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.98, name
    assert neighbours(whole.encoder, few) > 0.8
    assert neighbours(rounded.encoder, few) == pytest.approx(neighbours(whole.encoder, few), abs=0.04)
    kept = checkpoint.load_encoder(sliced.out).state_dict()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in rounded.encoder.state_dict().items())
    assert len(list((sliced.out / "checkpoint").glob("part-*"))) > 2


def test_parts_alone_change_nothing(config, few) -> None:
    config = replace(config, stages=tuple(replace(stage, steps=3) for stage in config.stages))
    whole = train.train(config, few).encoder.state_dict()
    parts = replace(config, out=config.out.with_name("parts"), checkpoint_part=0.01, resume_if_any=True)
    with pytest.raises(PausedError):
        train.train(replace(parts, minutes=1e-9), few)
    found = train.train(parts, few).encoder.state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in whole.items())
