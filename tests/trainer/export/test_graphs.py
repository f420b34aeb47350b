import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from holdfast.bundle.writer import BundleWriter
from holdfast.model.encoder.onnx import OnnxEncoder, OnnxGradient
from holdfast.model.preprocess import InputContract
from holdfast.trainer.encoders import AmdimConfig, ResNetConfig, build_encoder
from holdfast.trainer.export import graphs as module
from holdfast.trainer.export.graphs import export
from holdfast.trainer.export.parity import ExportError, ExportMismatchError, check_parity

CONTRACT = InputContract(height=32, width=32)
CONFIGS = {
    "amdim": AmdimConfig(width=8, n_rkhs=16, depth=2),
    "resnet": ResNetConfig(width=8, dim=16, activation="silu"),
}


def trained(config):
    torch.manual_seed(0)
    encoder = build_encoder(config)
    for parameter in encoder.parameters():
        if not parameter.any():  # zero-initialised convolutions would hide half of the net
            nn.init.normal_(parameter, std=0.1)
    for _ in range(5):
        encoder(torch.rand(8, 3, 32, 32))
    return encoder


@pytest.fixture(scope="module", params=[pytest.param("amdim", marks=pytest.mark.slow), "resnet"])
def exported(request, tmp_path_factory):
    encoder = trained(CONFIGS[request.param])
    folder = tmp_path_factory.mktemp(request.param)
    images = np.random.default_rng(5).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    parity = export(encoder, folder, CONTRACT, images)
    return encoder, folder, parity


def test_both_graphs_compute_what_torch_computes(exported):
    encoder, folder, parity = exported
    assert parity.embeddings <= 1e-4
    assert parity.gradients <= 1e-4
    random = np.random.default_rng(11)
    twin = trained(CONFIGS["amdim" if type(encoder).__name__.startswith("Amdim") else "resnet"]).eval()
    graph, gradient = OnnxEncoder(folder / "encoder.onnx"), OnnxGradient(folder / "gradient.onnx")
    assert graph.contract == CONTRACT
    for batch in (1, 4, 33):
        images = random.integers(0, 256, (batch, 32, 32, 3), dtype=np.uint8)
        cotangents = random.standard_normal((batch, 16), dtype=np.float32)
        pixels = (torch.from_numpy(images).float() / 255).requires_grad_()
        embeddings = F.normalize(twin(pixels.permute(0, 3, 1, 2)), dim=1)
        (expected,) = torch.autograd.grad((embeddings * torch.from_numpy(cotangents)).sum(), pixels)
        ours = graph.embed(images)
        np.testing.assert_allclose(ours, embeddings.detach(), rtol=0, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, rtol=1e-5)
        found = gradient.vjp(pixels.detach().numpy(), cotangents)
        relative = np.linalg.norm((found - expected.numpy()).reshape(batch, -1), axis=1)
        relative /= np.linalg.norm(expected.numpy().reshape(batch, -1), axis=1)
        assert np.median(relative) <= 1e-4


def test_exporting_leaves_the_encoder_training(exported):
    encoder, _, _ = exported
    assert encoder.training
    assert all(parameter.requires_grad for parameter in encoder.parameters())


def test_graphs_are_standard_and_tell_nothing_of_this_machine(exported):
    _, folder, _ = exported
    for name in ("encoder.onnx", "gradient.onnx"):
        model = onnx.load(folder / name)
        onnx.checker.check_model(model, full_check=True)
        assert {node.domain for node in model.graph.node} == {""}
        assert not model.functions
        assert str(Path(torch.__file__).parent).encode() not in (folder / name).read_bytes()
        assert str(Path(module.__file__).parent).encode() not in (folder / name).read_bytes()


def test_another_encoder_than_the_graphs_is_refused_with_the_difference(exported):
    encoder, folder, _ = exported
    other = trained(CONFIGS["amdim" if type(encoder).__name__.startswith("Amdim") else "resnet"]).eval()
    samples = {"random": np.random.default_rng(0).integers(0, 256, (33, 32, 32, 3), dtype=np.uint8)}
    check_parity(other, folder, samples)
    with torch.no_grad():
        next(other.parameters()).add_(0.01)
    with pytest.raises(ExportMismatchError, match=r"encoder.onnx.*e-0") as caught:
        check_parity(other, folder, samples)
    assert caught.value.difference > 1e-4


def test_after_a_mismatch_nothing_is_written(exported, tmp_path, monkeypatch):
    encoder, folder, _ = exported
    other = trained(CONFIGS["amdim" if type(encoder).__name__.startswith("Amdim") else "resnet"])
    with torch.no_grad():
        next(other.parameters()).mul_(1.1)

    def others(_encoder, to, _contract, **_):
        shutil.copytree(folder, to, dirs_exist_ok=True)
        return module.Lacking()

    monkeypatch.setattr(module, "write_graphs", others)
    with pytest.raises(ExportMismatchError):
        export(other, tmp_path, CONTRACT)
    assert list(tmp_path.iterdir()) == []
    writer = BundleWriter.create(tmp_path / "bundle")
    export(encoder, writer, CONTRACT)
    assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == ["encoder.onnx", "gradient.onnx"]


def test_what_cannot_be_exported_is_named(tmp_path):
    class Overlapping(nn.Module):
        def forward(self, pixels):
            return F.avg_pool2d(pixels, 3, 2, padding=1).flatten(1)

    class Branching(nn.Module):
        def forward(self, pixels):
            return pixels.flatten(1) if pixels.mean() > 0 else pixels.flatten(1) * 2

    for encoder in (Overlapping(), Branching()):
        with pytest.raises(ExportError, match=f"{type(encoder).__name__} cannot be exported"):
            export(encoder, tmp_path, CONTRACT)
    assert list(tmp_path.iterdir()) == []
