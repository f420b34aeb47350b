"""What only a GPU can show: that it is not waited for, and that a run on it can be left and gone on from. Run with -m gpu."""

from dataclasses import replace

import pytest
import torch

from holdfast.trainer import train
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.loop.data_parallel import DataParallel
from holdfast.trainer.loop.device import precision_of, to_device
from holdfast.trainer.loop.networks import build_networks
from holdfast.trainer.loop.optim import build_optimiser, set_learning_rate, take_step
from holdfast.trainer.loop.recorder import PausedError
from holdfast.trainer.loop.sampling import draw
from holdfast.trainer.objectives import ClustersConfig, DeaclConfig, SimclrConfig, TradesConfig
from holdfast.trainer.state import checkpoint

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
STAGES = (
    Stage("simclr", SimclrConfig(), steps=30, batch_size=64, optimiser="sgd", learning_rate=0.05),
    Stage("clusters", ClustersConfig(prototypes=16), steps=30, batch_size=64, optimiser="sgd", learning_rate=0.05),
)


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    encoder = ResNetConfig(32, 1, 32, activation="silu", stages=4)
    return TrainConfig(encoder, STAGES, out=tmp_path / "run", device="cuda", log_every=10)


@pytest.mark.parametrize("objective", [SimclrConfig(), ClustersConfig(prototypes=16), DeaclConfig(), TradesConfig()])
@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_steps_do_not_wait_for_the_device(config, digits, objective, optimiser) -> None:
    device, stage = torch.device("cuda"), Stage("s", objective, steps=100, batch_size=64, optimiser=optimiser)
    encoder, (loss,) = build_networks(replace(config, stages=(stage,)), digits.train, device)
    train_set, generator = to_device(digits.train, device), torch.Generator(device)
    built = build_optimiser(stage, encoder, loss, fused=True)
    with DataParallel(1, precision_of(config, device)) as parallel:
        for step in range(1, 8):
            # The first steps choose kernels, take the teacher and bring the order of the epoch.
            torch.cuda.set_sync_debug_mode("error" if step > 3 else "default")
            try:
                set_learning_rate(built, stage, step)
                loss.prepare(encoder, train_set, step)
                built.zero_grad()
                take_step(parallel.backward(encoder, loss, draw(train_set, stage, 0, step), [generator]), built, stage)
            finally:
                torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_run_in_slices_is_about_the_run_in_one_go(config, digits, precision) -> None:
    """Kernels may add in another order each time, so it is not the same to the bit."""
    config = replace(config, precision="float32")
    whole = train.train(config, digits).encoder
    sliced = replace(config, out=config.out.with_name("sliced"), checkpoint_precision=precision, resume_if_any=True)
    for _ in range(3):
        with pytest.raises(PausedError):
            train.train(replace(sliced, minutes=1e-9), digits)
    assert checkpoint.load(sliced.out).position.step == 3
    found = train.train(sliced, digits).encoder
    for (name, ours), theirs in zip(found.named_parameters(), whole.parameters(), strict=True):
        if ours.dim() > 1:
            assert torch.nn.functional.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.95, name


def test_fused_and_plain_optimisers_take_the_same_steps(config, digits, monkeypatch) -> None:
    config = replace(config, precision="float32", stages=(replace(STAGES[0], steps=5),))
    fused = train.train(config, digits).encoder
    monkeypatch.setattr(train, "sync_every", lambda _: 1)
    plain = train.train(replace(config, out=config.out.with_name("plain")), digits).encoder
    for (name, ours), theirs in zip(fused.named_parameters(), plain.named_parameters(), strict=True):
        torch.testing.assert_close(ours, theirs[1], rtol=1e-2, atol=1e-3, msg=name)


@pytest.mark.slow
def test_compiled_it_learns_the_same(config, digits) -> None:
    config = replace(config, precision="float32", stages=tuple(replace(stage, steps=3) for stage in STAGES))
    plain = train.train(config, digits).encoder
    compiled = train.train(replace(config, out=config.out.with_name("compiled"), compile=True), digits).encoder
    for (name, ours), theirs in zip(compiled.named_parameters(), plain.named_parameters(), strict=True):
        torch.testing.assert_close(ours, theirs[1], rtol=5e-2, atol=1e-2, msg=name)
