"""A compiled encoder is the same encoder to train_set around it: held still, copied, taken for a teacher, kept, exported."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from holdfast.attacks.pgd import frozen
from holdfast.bundle import Bundle
from holdfast.trainer import train
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.export.bundle import write_bundle
from holdfast.trainer.loop.device import to_device
from holdfast.trainer.loop.networks import build_networks
from holdfast.trainer.loop.recorder import PausedError
from holdfast.trainer.objectives import ClustersConfig, DeaclConfig, SimclrConfig, SsatConfig
from holdfast.trainer.state import checkpoint
from tests.trainer.tiny_runs import same

# torch's own compiler still uses what it warns of.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


@pytest.fixture
def few(digits):
    return replace(digits, train=digits.train.take(range(64)))


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    stages = (
        Stage("simclr", SimclrConfig(hidden=8, projection=8), steps=3, batch_size=16),
        Stage("clusters", ClustersConfig(prototypes=4, steps=2), steps=4, batch_size=16, average=0.5),
    )
    return TrainConfig(ResNetConfig(4, 1, 8, activation="silu"), stages, out=tmp_path / "run", device="cpu", k=5)


class Compiled:
    """What has been compiled, and how often compiled code has run."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.runs = 0

    def backend(self, graph: torch.fx.GraphModule, _inputs: object) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            self.runs += 1
            return graph(*arguments)

        return run


@pytest.fixture
def eagerly(monkeypatch) -> Compiled:
    """Compile by torch's tracer alone, without code for it: quick, and of the same numbers."""
    compiled = Compiled()
    really = nn.Module.compile

    def compile_eagerly(self: nn.Module, **arguments: Any) -> None:
        compiled.names.append(type(self).__name__)
        really(self, backend=compiled.backend, **arguments)

    monkeypatch.setattr(nn.Module, "compile", compile_eagerly)
    return compiled


def test_a_compiled_run_is_the_run_and_goes_on_from_one_that_is_not(config, few, eagerly) -> None:
    config = replace(config, precision="float32")
    whole = train.train(config, few).encoder
    compiled = replace(config, out=config.out.with_name("compiled"), compile=True)
    found = train.train(compiled, few).encoder
    assert eagerly.names == ["ResNetEncoder"] * 2  # the encoder and the teacher
    assert same(whole, found)
    runs = eagerly.runs
    assert runs
    found(torch.rand(2, 3, 32, 32))
    assert eagerly.runs == runs  # what is exported is not compiled
    assert same(whole, checkpoint.load_encoder(compiled.out))
    assert same(whole, train.train(replace(config, resume=True, compile=True), few).encoder)
    half = replace(config, out=config.out.with_name("half"), resume_if_any=True)
    with pytest.raises(PausedError):
        train.train(replace(half, minutes=1e-9), few)
    assert same(whole, train.train(replace(half, compile=True), few).encoder)


def test_names_copies_and_holding_still(config, few, eagerly) -> None:
    encoder, (_, clusters) = build_networks(replace(config, compile=True), few.train, torch.device("cpu"))
    plain, _ = build_networks(config, few.train, torch.device("cpu"))
    assert encoder.state_dict().keys() == plain.state_dict().keys()
    assert not any("_orig_mod" in name for name in clusters.state_dict())
    pixels = to_device(few.train, torch.device("cpu")).pixels()
    copy.deepcopy(encoder)(pixels)
    assert not eagerly.runs
    encoder(pixels)
    assert eagerly.runs
    encoder.load_state_dict(plain.state_dict())
    with frozen(encoder, plain):
        for _ in range(2):
            found, expected = (
                torch.autograd.grad(net(leaf).sum(), leaf)[0]
                for net, leaf in ((encoder, pixels.clone().requires_grad_()), (plain, pixels.clone().requires_grad_()))
            )
            assert torch.equal(found, expected)
            assert all(p.grad is None for p in encoder.parameters())
    for net in (encoder.train(), plain.train()):
        net(pixels).sum().backward()
    assert same(encoder, plain)  # what BatchNorm learned included
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(encoder.parameters(), plain.parameters(), strict=True))


def test_objectives_that_look_inside_train_as_well(config, few, eagerly) -> None:
    config = replace(config, stages=(Stage("ssat", SsatConfig(steps=2), steps=2, batch_size=16),), precision="float32")
    whole = train.train(config, few).encoder
    assert same(whole, train.train(replace(config, out=config.out.with_name("compiled"), compile=True), few).encoder)


@pytest.mark.slow
def test_compiled_to_code_it_learns_the_same(config, few) -> None:
    """With a compiler of C++, within rounding; and what is exported is what was learned."""
    stages = (config.stages[0], Stage("deacl", DeaclConfig(steps=2), steps=3, batch_size=16))
    config = replace(config, stages=stages)
    whole = train.train(config, few).encoder
    compiled = replace(config, out=config.out.with_name("compiled"), compile=True)
    trained = train.train(compiled, few)
    for ours, theirs in zip(trained.encoder.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.02)
    write_bundle(compiled, few, trained, "python -m trainer --compile")
    embeddings = Bundle.open_encoder(compiled.out).encoder.embed(few.test.images[:5])
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)
