"""Batches that are larger than what a session is given at once: they come out as whole ones would."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from holdfast.model.encoder import onnx as encoders
from holdfast.model.encoder.onnx import OnnxEncoder, OnnxGradient

SIDE = 512
FORWARD, BACKWARD = encoders.FORWARD_PIXELS // SIDE**2, encoders.BACKWARD_PIXELS // SIDE**2


def write(path, nodes, inputs, output, constants):
    """A graph whose inputs and output are (name, type, shape), with int64 constants by name."""
    given = [helper.make_tensor_value_info(*each) for each in inputs]
    kept = [numpy_helper.from_array(np.array(values, dtype=np.int64), name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "made up", given, [helper.make_tensor_value_info(*output)], kept)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """Embeds an image as the direction of its mean colour."""
    nodes = [
        helper.make_node("Cast", ["images"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["values", "axes"], ["colour"], keepdims=0),
        helper.make_node("LpNormalization", ["colour"], ["embeddings"], axis=1),
    ]
    images = ("images", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])
    output = ("embeddings", TensorProto.FLOAT, ["batch", 3])
    return write(tmp_path_factory.mktemp("encoder") / "encoder.onnx", nodes, [images], output, {"axes": [1, 2]})


@pytest.fixture(scope="module")
def gradient(tmp_path_factory):
    """Of a sum of squares: each channel is multiplied by its cotangent."""
    nodes = [
        helper.make_node("Reshape", ["cotangents", "shape"], ["wide"]),
        helper.make_node("Mul", ["pixels", "wide"], ["gradients"]),
    ]
    shape = ["batch", SIDE, SIDE, 3]
    inputs = [("pixels", TensorProto.FLOAT, shape), ("cotangents", TensorProto.FLOAT, ["batch", 3])]
    output = ("gradients", TensorProto.FLOAT, shape)
    path = tmp_path_factory.mktemp("gradient") / "gradient.onnx"
    return write(path, nodes, inputs, output, {"shape": [-1, 1, 1, 3]})


@pytest.mark.parametrize("count", [0, 1, FORWARD, FORWARD + 3])
def test_each_image_is_embedded_as_itself(encoder, count):
    images = np.random.default_rng(count).integers(0, 256, (count, 1, 1, 3), dtype=np.uint8)
    found = OnnxEncoder(encoder).embed(np.broadcast_to(images, (count, SIDE, SIDE, 3)))
    colours = images[:, 0, 0].astype(np.float64)
    expected = colours / np.linalg.norm(colours, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-2)  # a mean of 262,144 numbers in float32
    assert (found.dtype, found.shape) == (np.float32, (count, 3))


@pytest.mark.parametrize("count", [0, 1, BACKWARD + 1, 2 * BACKWARD + 1])
def test_each_gradient_is_of_its_image_and_its_cotangent(gradient, count):
    rng = np.random.default_rng(count)
    pixels, cotangents = rng.random((count, SIDE, SIDE, 3), np.float32), rng.random((count, 3), np.float32)
    np.testing.assert_allclose(
        OnnxGradient(gradient).vjp(pixels, cotangents), pixels * cotangents[:, np.newaxis, np.newaxis], rtol=1e-6
    )


def test_no_session_is_given_more_at_once(encoder, gradient, monkeypatch):
    given, opened = [], encoders.open_session
    monkeypatch.setattr(encoders, "open_session", lambda path, **options: Recording(opened(path, **options), given))
    OnnxEncoder(encoder).embed(np.zeros((FORWARD + 1, SIDE, SIDE, 3), np.uint8))
    pixels, cotangents = np.zeros((BACKWARD + 1, SIDE, SIDE, 3), np.float32), np.zeros((BACKWARD + 1, 3), np.float32)
    OnnxGradient(gradient).vjp(pixels, cotangents)
    assert given == [FORWARD, 1, BACKWARD, 1]


class Recording:
    """A session that keeps how many images it was given at once."""

    def __init__(self, session, given):
        self._session, self._given = session, given

    def __getattr__(self, name):
        return getattr(self._session, name)

    def run(self, names, inputs):
        self._given.append(len(next(iter(inputs.values()))))
        return self._session.run(names, inputs)
