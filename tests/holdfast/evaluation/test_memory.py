"""How many images are attacked at once."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from holdfast.attacks.victim import SERVED_BATCH, SERVED_PIXELS, served_parts
from holdfast.bundle.reader import GRADIENT
from holdfast.errors import HoldfastError
from holdfast.evaluation.cli.memory import GIB, MOST, SLACK, bytes_alive, images_at_once

SIDE = 8
IMAGE = 4 * 3 * SIDE * SIDE


def write_graph(path, nodes, outputs):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, SIDE, SIDE]) for name in ("x", *outputs)]
    graph = helper.make_graph(nodes, "made up", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


def test_a_value_is_alive_until_it_is_read_for_the_last_time(tmp_path):
    relu = [helper.make_node("Relu", [name], [after]) for name, after in (("x", "a"), ("a", "b"), ("b", "c"))]
    assert bytes_alive(write_graph(tmp_path / "chain.onnx", relu, ["c"])) == 2 * IMAGE
    kept = [*relu, helper.make_node("Mul", ["a", "c"], ["d"])]
    # a waits while b becomes c; and then both are there beside their product.
    assert bytes_alive(write_graph(tmp_path / "kept.onnx", kept, ["d"])) == 3 * IMAGE
    assert bytes_alive(write_graph(tmp_path / "given.onnx", relu, ["a", "b", "c"])) == 3 * IMAGE


@given(st.floats(1e-9, 64))
def test_what_is_taken_fits_and_one_more_would_not(made_up_bundle, gib):
    found, each = images_at_once(made_up_bundle, gib), SLACK * 2 * IMAGE
    assert found == 1 or found * each <= gib * GIB
    assert found == MOST or (found + 1) * each > gib * GIB


@pytest.fixture(scope="module")
def made_up_bundle(tmp_path_factory):
    directory = tmp_path_factory.mktemp("bundle")
    relu = [helper.make_node("Relu", [name], [after]) for name, after in (("x", "a"), ("a", "b"))]
    write_graph(directory / GRADIENT, relu, ["b"])
    return directory


def test_small_images_are_taken_as_many_at_once_as_ever(bundle):
    assert images_at_once(bundle, 4.0) == MOST


def test_a_graph_that_cannot_be_read_is_refused_and_an_absent_one_needs_no_room(tmp_path):
    assert images_at_once(tmp_path, 4.0) == MOST
    (tmp_path / GRADIENT).write_bytes(b"torn")
    with pytest.raises(HoldfastError, match="cannot be read"):
        images_at_once(tmp_path, 4.0)


@given(st.integers(0, 600), st.integers(1, 40), st.integers(1, 40))
def test_parts_that_are_asked_about_hold_all_images_in_their_order(count, height, width):
    images = np.arange(count, dtype=np.uint16).view(np.uint8).reshape(count, 1, 1, 2)
    images = np.broadcast_to(images[..., :1], (count, height, width, 1))
    parts = served_parts(images)
    assert all(1 <= len(part) <= SERVED_BATCH for part in parts)
    assert np.array_equal(np.concatenate([*parts, images[:0]]), images)


def test_large_images_are_asked_about_fewer_at_once():
    parts = served_parts(np.zeros((200, 224, 224, 3), np.uint8))
    assert max(map(len, parts)) * 224 * 224 <= SERVED_PIXELS
    assert [len(part) for part in served_parts(np.zeros((2, 4000, 4000, 3), np.uint8))] == [1, 1]
