"""Models of transformers, from their directory to a bundle that is indexed and served."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from holdfast import cli
from holdfast.bundle.reader import CANARY, Bundle, read_manifest
from holdfast.bundle.writer import BundleWriter
from holdfast.client import Client
from holdfast.importing import processor_parity
from holdfast.importing.pretrained.towers import FAMILIES
from holdfast.model.encoder.onnx import OnnxEncoder, OnnxGradient
from holdfast.model.preprocess import decode_image
from holdfast.trainer.importing.command import main
from tests.holdfast.importing import saved_models
from tests.holdfast.importing.saved_models import SHORTEST, SIDE
from tests.server.running import Process

CLASSES = {"red": (200, 60, 60), "blue": (60, 60, 200)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Wide pictures whose middle is of their class's colour, and whose sides are of another."""
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for (name, colour), other in zip(CLASSES.items(), reversed(CLASSES.values()), strict=True):
        (folder / name).mkdir()
        for number in range(16):
            pixels = random.normal(other, 30, (SIDE, 3 * SIDE, 3))
            pixels[:, SIDE : 2 * SIDE] = random.normal(colour, 30, (SIDE, SIDE, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    return saved_models.save("resnet", tmp_path_factory.mktemp("resnet") / "resnet")


@pytest.fixture(scope="module")
def imported(resnet, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "resnet"
    assert cli.main(["import", str(resnet[0]), "--out", str(out)]) == 0
    return out


def test_its_picture_is_cropped_by_index_evaluation_and_server_alike(resnet, imported, photos, tmp_path):
    out = tmp_path / "indexed"
    assert cli.main(["index", str(imported), "--data", str(photos), "--out", str(out)]) == 0
    bundle = Bundle.open(out)
    contract, record = bundle.manifest.input, bundle.manifest.imported
    assert (contract.size, contract.shortest, contract.resample) == ((SIDE, SIDE), SHORTEST, "bicubic")
    assert (record.source, record.output) == ("resnet", "pooler_output")
    assert record.processor_levels < 0.5
    assert record.processor_difference < 0.1
    encoded = (photos / "red" / "0.png").read_bytes()
    seen = decode_image(encoded, contract)
    assert seen[:, :, 0].mean() > 150  # the middle alone
    prepared = saved_models.processor_of("resnet")(Image.open(photos / "red" / "0.png"), return_tensors="pt")
    theirs = F.normalize(resnet[1](prepared["pixel_values"]), dim=1).numpy()
    writer = BundleWriter.open(out)
    writer.drop(CANARY)  # of an encoder with random weights a server finds fault, by what a planted pattern does to it
    writer.commit(bundle.manifest)
    server = Process(out, tmp_path)
    try:
        with Client(server.address) as client:
            served = client.embed([encoded])
    finally:
        server.discard()
    np.testing.assert_allclose(served, bundle.encoder.embed(seen[np.newaxis]), atol=1e-5)
    np.testing.assert_allclose(served, theirs, atol=0.05)


def test_its_gradient_is_that_of_the_library(resnet, imported):
    pixels = torch.rand(3, SIDE, SIDE, 3, requires_grad=True)
    cotangents = np.random.default_rng(0).normal(size=(3, read_manifest(imported).embedding_dim)).astype(np.float32)
    mean, std = (torch.tensor(each) for each in (read_manifest(imported).imported.mean, read_manifest(imported).imported.std))
    embeddings = F.normalize(resnet[1](((pixels - mean) / std).permute(0, 3, 1, 2)), dim=1)
    (expected,) = torch.autograd.grad((embeddings * torch.from_numpy(cotangents)).sum(), pixels)
    found = OnnxGradient(imported / "gradient.onnx").vjp(pixels.detach().numpy(), cotangents)
    assert np.linalg.norm(found - expected.numpy()) <= 1e-3 * expected.norm()


def test_a_processor_that_does_something_else_is_found(resnet, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(processor_parity, "fit", lambda picture, contract: np.full(contract.shape, 9, np.uint8))
    assert main([str(resnet[0]), "--out", str(tmp_path / "out")]) == 2
    assert "grey levels" in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted({kind for kind in FAMILIES if not kind.endswith("vision_model")}))
def test_every_family_has_a_gradient_and_any_batch(kind, tmp_path):
    folder, _ = saved_models.save(kind, tmp_path / "model")
    assert main([str(folder), "--out", str(tmp_path / "out")]) == 0
    assert sorted(read_manifest(tmp_path / "out").files) == ["encoder.onnx", "gradient.onnx"]
    images = np.random.default_rng(0).integers(0, 256, (7, SIDE, SIDE, 3), dtype=np.uint8)
    encoder = OnnxEncoder(tmp_path / "out" / "encoder.onnx")
    singly = np.concatenate([encoder.embed(image[np.newaxis]) for image in images])
    np.testing.assert_allclose(encoder.embed(images), singly, atol=1e-5)
