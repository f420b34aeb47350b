"""Whitening: what it does to a spread, that it is exported and differentiated right, and that it outlives its run."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.attacks.onnx_embedding import OnnxEmbedding
from holdfast.bundle import Bundle
from holdfast.errors import HoldfastError
from holdfast.trainer import train
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.export import whitening
from holdfast.trainer.export.bundle import write_bundle
from holdfast.trainer.export.trained import load_trained
from holdfast.trainer.export.whitening import FLOOR, Whitened, whiten, whitening_of
from holdfast.trainer.loop.device import to_device
from holdfast.trainer.objectives import SupervisedConfig


def cloud(seed: int, dim: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    spread = torch.diag(torch.linspace(1, 5, dim)) @ torch.randn(dim, dim, generator=generator)
    return torch.randn(400, dim, generator=generator) @ spread + 3


@given(seed=st.integers(0, 10_000), power=st.floats(0, 0.5))
@settings(max_examples=30)
def test_the_spread_is_evened_out_by_the_power(seed, power) -> None:
    embeddings = cloud(seed)
    matrix, mean = whitening_of(embeddings, power)
    torch.testing.assert_close(matrix, matrix.T, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mean, embeddings.mean(0), rtol=1e-4, atol=1e-4)
    before = torch.linalg.eigvalsh(torch.cov(embeddings.double().T))
    after = torch.linalg.eigvalsh(torch.cov(((embeddings - mean) @ matrix).double().T))
    expected = (before * (before + FLOOR * before.max()) ** (-2 * power)).sort().values
    torch.testing.assert_close(after, expected, rtol=1e-2, atol=1e-4)


def test_no_power_is_no_change_but_the_mean() -> None:
    matrix, _ = whitening_of(cloud(1), 0.0)
    torch.testing.assert_close(matrix, torch.eye(6), rtol=0, atol=1e-5)


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    stage = Stage("s", SupervisedConfig(), steps=3, batch_size=16)
    encoder = ResNetConfig(4, 1, 8, activation="silu")
    return TrainConfig(encoder, (stage,), out=tmp_path / "run", k=5, device="cpu", whitening=0.25)


@pytest.fixture
def few(digits):
    return replace(digits, train=digits.train.take(range(60)))


@pytest.mark.slow
def test_the_exported_encoder_is_the_whitened_one_and_gradients_go_through_it(config, few) -> None:
    trained = train.train(config, few)
    write_bundle(config, few, trained, "python -m trainer")
    bundle = Bundle.open_encoder(config.out)
    assert bundle.manifest.training.encoder.endswith("whitened by 0.25")
    expected = whiten(trained.encoder, to_device(few.train, torch.device("cpu")), 0.25)
    pixels = torch.from_numpy(few.test.images[:5]).permute(0, 3, 1, 2).float() / 255
    embedded = F.normalize(expected(pixels.requires_grad_()), dim=1)
    np.testing.assert_allclose(bundle.encoder.embed(few.test.images[:5]), embedded.detach(), atol=1e-4)
    assert not np.allclose(
        bundle.encoder.embed(few.test.images[:5]), F.normalize(trained.encoder(pixels), dim=1).detach(), atol=1e-2
    )
    other = pixels.detach().requires_grad_()
    weights = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    (embedded * weights).sum().backward()
    (OnnxEmbedding(bundle)(other) * weights).sum().backward()
    torch.testing.assert_close(other.grad, pixels.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_loading_finds_the_map_and_a_run_without_one_leaves_none(config, few) -> None:
    trained = train.train(config, few)
    write_bundle(config, few, trained, "python -m trainer")
    loaded = load_trained(config.out)
    assert isinstance(loaded, Whitened)
    pixels = torch.from_numpy(few.test.images[:5]).permute(0, 3, 1, 2).float() / 255
    np.testing.assert_allclose(
        F.normalize(loaded(pixels), dim=1), Bundle.open_encoder(config.out).encoder.embed(few.test.images[:5]), atol=1e-4
    )
    plain = replace(config, whitening=0.0, resume=True)
    write_bundle(plain, few, train.train(plain, few), "python -m trainer --resume")
    assert not isinstance(load_trained(config.out), Whitened)


def test_a_map_that_is_damaged_or_of_another_encoder_is_refused(tmp_path) -> None:
    encoder = build_encoder(ResNetConfig(4, 1, 8))
    whitening.save(Whitened(build_encoder(ResNetConfig(4, 1, 12))), tmp_path)
    with pytest.raises(HoldfastError, match="of another encoder"):
        whitening.load(encoder, tmp_path)
    (tmp_path / whitening.FILE).write_bytes(b"no tensors")
    with pytest.raises(HoldfastError, match="damaged"):
        whitening.load(encoder, tmp_path)
