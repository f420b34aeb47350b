"""Weights rounded to float16: bundle, gradient and the loaded encoder compute with the same rounded ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from holdfast.attacks.onnx_embedding import OnnxEmbedding
from holdfast.bundle import Bundle
from holdfast.errors import HoldfastError
from holdfast.trainer import train
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.export import rounding
from holdfast.trainer.export.bundle import exported_encoder, write_bundle
from holdfast.trainer.export.trained import load_trained
from holdfast.trainer.objectives import SupervisedConfig


@pytest.fixture
def few(digits):
    return replace(digits, train=digits.train.take(range(60)))


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    stage = Stage("s", SupervisedConfig(), steps=3, batch_size=16)
    encoder = ResNetConfig(12, 1, 40, activation="silu")
    return TrainConfig(encoder, (stage,), out=tmp_path / "run", k=5, device="cpu", half=True, whitening=0.25)


def pixels(few) -> torch.Tensor:
    return torch.from_numpy(few.test.images[:5]).permute(0, 3, 1, 2).float() / 255


@pytest.mark.slow
def test_the_exported_encoder_is_the_rounded_one_for_answers_gradients_and_loading(config, few) -> None:
    trained = train.train(config, few)
    write_bundle(config, few, trained, "python -m trainer --half")
    bundle = Bundle.open_encoder(config.out)
    assert bundle.manifest.training.encoder.endswith("weights rounded to float16, whitened by 0.25")
    opened = load_trained(config.out)
    for module, original in zip(opened.encoder.modules(), trained.encoder.modules(), strict=True):
        if isinstance(module, torch.nn.Conv2d) and module.weight.numel() >= 1024:
            assert torch.equal(module.weight, original.weight.half().float())
            assert not torch.equal(module.weight, original.weight)
    embedded = F.normalize(opened(leaf := pixels(few).requires_grad_()), dim=1)
    np.testing.assert_allclose(bundle.encoder.embed(few.test.images[:5]), embedded.detach(), atol=1e-4)
    weights = torch.randn(embedded.shape, generator=torch.Generator().manual_seed(0))
    (embedded * weights).sum().backward()
    (OnnxEmbedding(bundle)(other := pixels(few).requires_grad_()) * weights).sum().backward()
    torch.testing.assert_close(other.grad, leaf.grad, rtol=1e-3, atol=1e-5)


def test_a_finished_run_can_have_either(config, few) -> None:
    trained = train.train(config, few)
    weights = []
    for half in (True, False):
        exported_encoder(replace(config, half=half, whitening=0.0), few, trained)
        opened = load_trained(config.out)
        weights.append(opened.to5[0].conv1.weight.contiguous())
    own = trained.encoder.to5[0].conv1.weight
    assert torch.equal(weights[0], own.half().float())
    assert torch.equal(weights[1], own)
    assert not torch.equal(*weights)


def test_a_note_that_is_damaged_is_said_to_be(config, few) -> None:
    encoder = train.train(config, few).encoder
    assert rounding.load(encoder, config.out) is encoder  # a run of before there was a choice
    for content in (b"nonsense", b"{}", b"[]"):
        (config.out / rounding.FILE).write_bytes(content)
        with pytest.raises(HoldfastError, match="finish the run again"):
            rounding.load(encoder, config.out)
