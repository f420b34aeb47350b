"""Weights of half of the bytes: storing them so changes no number that is computed."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from holdfast.model.encoder.onnx import open_session
from holdfast.trainer.export.half_weights import halve


def product(weight: np.ndarray) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", len(weight)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", weight.shape[1]])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: onnx.ModelProto, x: np.ndarray, folder) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return open_session(folder / "model.onnx").run(None, {"x": x})[0]


@given(seed=st.integers(0, 9999), scale=st.sampled_from([1e-7, 1e-3, 1.0, 1e4]))
@settings(max_examples=10)
def test_what_float16_holds_is_stored_so_and_computed_with_as_before(tmp_path_factory, seed, scale) -> None:
    random = np.random.default_rng(seed)
    weight = (scale * random.standard_normal((40, 50))).astype(np.float16).astype(np.float32)
    x = random.standard_normal((3, 40), dtype=np.float32)
    folder = tmp_path_factory.mktemp("half")
    whole, half = product(weight), product(weight)
    assert halve(half) == 2 * weight.size
    assert half.ByteSize() < 0.6 * whole.ByteSize()
    np.testing.assert_array_equal(run(half, x, folder), run(whole, x, folder))


@pytest.mark.parametrize("weight", [np.full((40, 50), 0.1), np.full((40, 50), 1e5), np.ones((4, 5)), np.full((40, 50), np.nan)])
def test_what_float16_does_not_hold_and_what_is_small_stays(weight) -> None:
    model = product(weight.astype(np.float32))
    before = model.SerializeToString(deterministic=True)
    assert halve(model) == 0
    assert model.SerializeToString(deterministic=True) == before
