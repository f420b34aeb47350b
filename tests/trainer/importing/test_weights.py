"""How the weights of imported encoders are stored: as float16, and beside graphs that cannot hold them."""

import numpy as np
import onnx
import pytest
from onnx import helper

from holdfast.bundle.reader import Bundle, read_manifest
from holdfast.importing import large_models, source
from holdfast.model.encoder.onnx import OnnxEncoder, OnnxGradient
from holdfast.trainer.importing.command import main
from tests.holdfast.importing.foreign import SIDE, graph

MATRIX = np.random.default_rng(0).normal(size=(3, 600)).astype(np.float32)
IMAGES = np.random.default_rng(1).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)


def embedded(matrix):
    features = (IMAGES / 255).mean((1, 2)) @ matrix.astype(np.float64)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A model that gives a product of each channel's mean with a matrix, which lies beside it."""
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["means", "matrix"], ["features"]),
    ]
    made = tmp_path_factory.mktemp("model") / "model.onnx"
    model = graph(nodes, ("N", 3, SIDE, SIDE), {"matrix": MATRIX})
    onnx.save_model(model, made, save_as_external_data=True, location="matrix.bin", size_threshold=0)
    return made


def test_half_stores_rounded_weights_once(path, tmp_path):
    out = tmp_path / "half"
    assert main([str(path), "--out", str(out), "--mean", "0", "--half"]) == 0
    bundle = Bundle.open_encoder(out)
    assert {"encoder.onnx", "encoder_float16.onnx", "gradient.onnx", "weights.bin"} == set(bundle.manifest.files)
    # Encoder and gradient have the matrix and its transpose, which as float32 would be twice as many bytes.
    assert MATRIX.nbytes <= (out / "weights.bin").stat().st_size < 1.2 * MATRIX.nbytes
    found = bundle.encoder.embed(IMAGES)
    np.testing.assert_allclose(found, embedded(MATRIX.astype(np.float16)), atol=1e-5)
    assert bundle.manifest.imported.weights == "float16"
    assert 1e-5 < bundle.manifest.imported.largest_difference < 5e-3


def test_weights_that_a_graph_cannot_hold_lie_beside_it(path, tmp_path, monkeypatch):
    small, large = tmp_path / "small", tmp_path / "large"
    assert main([str(path), "--out", str(small), "--mean", "0"]) == 0
    monkeypatch.setattr(large_models, "MOST_WEIGHT_BYTES", MATRIX.nbytes - 1)
    assert main([str(path), "--out", str(large), "--mean", "0"]) == 0
    assert set(read_manifest(small).files) == {"encoder.onnx", "gradient.onnx"}
    assert set(read_manifest(large).files) == {"encoder.onnx", "gradient.onnx", "weights.bin"}
    assert (large / "encoder.onnx").stat().st_size < MATRIX.nbytes
    bundle = Bundle.open_encoder(large)
    np.testing.assert_array_equal(bundle.encoder.embed(IMAGES), OnnxEncoder(small / "encoder.onnx").embed(IMAGES))
    np.testing.assert_allclose(bundle.encoder.embed(IMAGES), embedded(MATRIX), atol=1e-5)
    cotangents = np.random.default_rng(2).normal(size=(5, 600)).astype(np.float32)
    pixels = (IMAGES / 255).astype(np.float32)
    expected = OnnxGradient(small / "gradient.onnx").vjp(pixels, cotangents)
    np.testing.assert_array_equal(bundle.gradient.vjp(pixels, cotangents), expected)


def test_a_file_that_nothing_can_read_says_what_to_do(path, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(source, "MOST_BYTES", 100)
    assert main([str(path), "--out", str(tmp_path / "out"), "--mean", "0"]) == 2
    assert "weights beside it" in capsys.readouterr().err
