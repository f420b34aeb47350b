"""Graphs over one file of weights: the same numbers, and each tensor once."""

import hashlib

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from holdfast.bundle import Bundle
from holdfast.bundle.__main__ import main
from holdfast.errors import BundleError, HashMismatchError, MissingFileError
from holdfast.model.encoder.onnx import OnnxEncoder, OnnxGradient, open_session
from holdfast.trainer.export.shared_weights import PAGE, SMALLEST, share_weights


def product(*weights: np.ndarray) -> onnx.ModelProto:
    """x times each of the weights."""
    names = [f"w{number}" for number in range(len(weights))]
    nodes = [
        helper.make_node("MatMul", [x, w], [f"x{w}"]) for x, w in zip(["x", *(f"x{w}" for w in names)], names, strict=False)
    ]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", len(weights[0])])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["n", weights[-1].shape[1]])],
        [numpy_helper.from_array(weight, name) for weight, name in zip(weights, names, strict=True)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def square(seed: int, side: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((side, side), dtype=np.float32)


@given(
    seeds=st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=4), min_size=1, max_size=3),
    side=st.sampled_from([3, 30, 40]),
)
@settings(max_examples=30)
def test_they_compute_the_same_and_each_tensor_is_stored_once(tmp_path_factory, seeds, side) -> None:
    folder = tmp_path_factory.mktemp("shared")
    models = [product(*(square(seed, side) for seed in some)) for some in seeds]
    alone = [model.SerializeToString() for model in models]
    content = share_weights(models, "w.bin")
    (folder / "w.bin").write_bytes(content)
    different = {seed for some in seeds for seed in some} if 4 * side**2 >= SMALLEST else set()
    assert len(content) <= len(different) * -(-4 * side**2 // PAGE) * PAGE
    assert bool(content) == bool(different)
    x = np.random.default_rng(9).standard_normal((5, side), dtype=np.float32)
    for number, (model, before) in enumerate(zip(models, alone, strict=True)):
        (folder / "alone.onnx").write_bytes(before)
        (folder / f"{number}.onnx").write_bytes(model.SerializeToString())
        onnx.checker.check_model(folder / f"{number}.onnx", full_check=True)
        expected, found = (open_session(folder / name).run(None, {"x": x})[0] for name in ("alone.onnx", f"{number}.onnx"))
        np.testing.assert_array_equal(found, expected)
        for tensor in model.graph.initializer:
            place = {entry.key: entry.value for entry in tensor.external_data}
            assert not place or (place["location"], int(place["offset"]) % PAGE) == ("w.bin", 0)


def test_the_hash_of_a_graph_tells_its_weights() -> None:
    one, same, other = (product(square(seed, 30)) for seed in (0, 0, 1))
    contents = [share_weights([model], "w.bin") for model in (one, same, other)]
    one, same, other = (model.SerializeToString(deterministic=True) for model in (one, same, other))
    assert one == same
    assert one != other
    for content, model in zip(contents, (one, same, other), strict=True):
        assert hashlib.sha256(content).hexdigest().encode() in model


@pytest.fixture(scope="module")
def pair(small_in_half):
    """The graphs of one encoder, over one file and standing alone."""
    _, folder = small_in_half
    return folder / "shared", folder / "alone"


def test_an_encoders_graphs_compute_bit_for_bit_what_they_do_alone(pair) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    for name in ("encoder.onnx", "encoder_float16.onnx"):
        found, expected = (OnnxEncoder(folder / name).embed(images) for folder in pair)
        np.testing.assert_array_equal(found, expected)
    cotangents, pixels = random.standard_normal((5, 40), dtype=np.float32), (images / 255).astype(np.float32)
    found, expected = (OnnxGradient(folder / "gradient.onnx").vjp(pixels, cotangents) for folder in pair)
    np.testing.assert_array_equal(found, expected)


def test_all_graphs_together_take_two_bytes_for_each_weight(small_in_half, pair) -> None:
    encoder, _ = small_in_half
    shared, _ = pair
    names = ("encoder.onnx", "encoder_float16.onnx", "gradient.onnx", "weights.bin")
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    assert sum((shared / name).stat().st_size for name in names) < 2.1 * parameters + 120_000


def test_the_gradient_brings_no_large_weights_of_its_own(pair) -> None:
    shared, _ = pair
    places = {}
    for name in ("encoder.onnx", "encoder_float16.onnx", "gradient.onnx"):
        tensors = onnx.load(shared / name, load_external_data=False).graph.initializer
        places[name] = {
            tuple(e.value for e in t.external_data if e.key != "length"): int(e.value)
            for t in tensors
            for e in t.external_data
            if e.key == "length"
        }
    assert places["encoder_float16.onnx"].items() <= places["encoder.onnx"].items()
    own = places["gradient.onnx"].keys() - places["encoder.onnx"].keys()
    assert sum(places["gradient.onnx"][place] for place in own) < 0.1 * sum(places["encoder.onnx"].values())


@pytest.mark.slow
def test_a_bundle_of_one_file_of_weights_is_verified_checked_and_copied(exported_half, tmp_path, capsys) -> None:
    half_bundle = Bundle.open(exported_half)
    assert {"encoder.onnx", "encoder_float16.onnx", "gradient.onnx", "weights.bin"} <= set(half_bundle.manifest.files)
    assert main(["copy", str(half_bundle.directory), str(tmp_path / "copied")]) == 0
    assert main(["check", str(tmp_path / "copied")]) == 0
    assert "weights.bin" in capsys.readouterr().out
    moved = Bundle.open(tmp_path / "copied")
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(moved.encoder.embed(images), half_bundle.encoder.embed(images))
    weights = tmp_path / "copied/weights.bin"
    content = bytearray(weights.read_bytes())
    content[PAGE // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(HashMismatchError, match=r"weights\.bin"):
        Bundle.open(tmp_path / "copied")
    weights.unlink()
    with pytest.raises(MissingFileError, match=r"weights\.bin"):
        Bundle.open(tmp_path / "copied")


def test_a_graph_may_not_look_outside_its_folder(tmp_path) -> None:
    (tmp_path / "bundle").mkdir()
    models = [product(square(0, 30))]
    (tmp_path / "w.bin").write_bytes(share_weights(models, "../w.bin"))
    (tmp_path / "bundle/encoder.onnx").write_bytes(models[0].SerializeToString())
    with pytest.raises(BundleError, match="cannot be loaded"):
        open_session(tmp_path / "bundle/encoder.onnx")
