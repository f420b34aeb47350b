import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from holdfast.importing.conversion import to_torch
from holdfast.importing.errors import EncoderImportError, UnknownOperatorError
from holdfast.model.encoder.session import open_session
from tests.holdfast.importing.foreign import SIDE, Convolutional, Transformer, channels_mean, exported, graph, saved, trained

SHAPE = (3, SIDE, SIDE)


def module_of(model, batch=None, shape=SHAPE, output=None):
    return to_torch(model, output or model.graph.output[0].name, shape, batch)


@pytest.mark.parametrize("batch", [None, 1, 4])
@pytest.mark.parametrize(
    ("kind", "opset", "dynamo"),
    [
        *((Convolutional, opset, False) for opset in (9, 20)),
        *((Transformer, opset, False) for opset in (11, 13, 17, 20)),
        (Transformer, 18, True),
    ],
)
def test_what_torch_exports_comes_back_for_any_batch(kind, opset, dynamo, batch):
    net = trained(kind)
    model = exported(net, opset=opset, batch=batch, dynamo=dynamo)
    module, sizes = module_of(model, batch)
    assert sizes == tuple(net(torch.rand(1, *SHAPE)).shape[1:])
    for images in (1, 2, 5):
        pixels = torch.rand(images, *SHAPE)
        torch.testing.assert_close(module(pixels), net(pixels), rtol=0, atol=2e-5)


def test_its_gradient_is_the_sources(tmp_path):
    net = trained(Transformer)
    module, _ = module_of(exported(net, opset=17, batch=1), 1)
    pixels = torch.rand(3, *SHAPE, requires_grad=True)
    found, expected = (torch.autograd.grad(each(pixels).square().sum(), pixels)[0] for each in (module, net))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_weights_can_be_trained():
    module, _ = module_of(exported(trained(Convolutional), opset=17))
    names = {name.partition("_")[0] for name, _ in module.named_parameters()}
    assert {"conv2d"} <= names
    module.requires_grad_()
    module(torch.rand(2, *SHAPE)).sum().backward()
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in module.parameters())


def pads():
    return st.lists(st.integers(0, 1), min_size=4, max_size=4)


@st.composite
def layers(draw):  # noqa: PLR0911 - a kind each
    """A layer of maps [N, 3, 7, 6] with any of its attributes, and the constants that go into it."""
    kind = draw(
        st.sampled_from(["Conv", "MaxPool", "AveragePool", "Pad", "Resize", "Slice", "Softmax", "Clip", "Split", "Expand"])
    )
    sides = st.lists(st.integers(1, 3), min_size=2, max_size=2)
    window, strides = draw(sides), draw(sides)
    strides = [min(each, side) for each, side in zip(strides, window, strict=True)]  # ONNX Runtime pads by SAME no further
    random = np.random.default_rng(draw(st.integers(0, 99)))
    border = draw(
        st.one_of(pads().map(lambda each: {"pads": each}), st.sampled_from([{"auto_pad": "SAME_UPPER"}, {"auto_pad": "VALID"}]))
    )
    if kind == "Conv":
        weights = {"w": random.normal(size=(4, 3, *window)).astype(np.float32), "b": random.normal(size=4).astype(np.float32)}
        return kind, {"strides": strides, **border}, weights
    if kind in {"MaxPool", "AveragePool"}:
        window = [max(2, side) for side in window]
        return kind, {"kernel_shape": window, "strides": strides, **border}, {}
    if kind == "Pad":
        mode = draw(st.sampled_from(["constant", "reflect", "edge"]))
        return kind, {"mode": mode}, {"p": np.array([0, 0, *draw(pads())[:2], 0, 0, *draw(pads())[:2]])}
    if kind == "Resize":
        attributes = draw(
            st.sampled_from(
                [
                    {"mode": "linear"},
                    {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
                ]
            )
        )
        return kind, attributes, {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 2, 2], np.float32)}
    if kind == "Slice":
        start = draw(st.integers(-7, 6))
        part = {"s": [start, 5], "e": [2**40, -7], "a": [2, 3], "t": [draw(st.integers(1, 3)), -1]}
        return kind, {}, {name: np.array(value) for name, value in part.items()}
    if kind == "Expand":
        return kind, {}, {"s": np.array([1, 3, 1, 1])}
    return (
        kind,
        {"axis": draw(st.integers(1, 3))} if kind == "Softmax" else {"axis": 2, "num_outputs": 2} if kind == "Split" else {},
        ({"lo": np.float32(-0.5), "hi": np.float32(0.5)} if kind == "Clip" else {}),
    )


@settings(max_examples=60, deadline=None)
@given(layer=layers(), images=st.integers(1, 3))
def test_each_operator_is_onnxs_own(tmp_path_factory, layer, images):
    kind, attributes, weights = layer
    outputs = ["features", "rest"] if kind == "Split" else ["features"]
    node = helper.make_node(kind, ["pixels", *weights], outputs, **attributes)
    model = graph([node], ["N", 3, 7, 6], weights, outputs=outputs, opset=18)
    pixels = np.random.default_rng(0).normal(size=(images, 3, 7, 6)).astype(np.float32)
    session = open_session(saved(model, tmp_path_factory.mktemp("layer") / "layer.onnx"))
    for output in outputs:
        try:
            module, _ = module_of(model, shape=(3, 7, 6), output=output)
        except EncoderImportError:
            assert kind in {"MaxPool", "AveragePool", "Split"}  # a window of borders alone, or a part of no rows
            continue
        expected = session.run([output], {"pixels": pixels})[0]
        np.testing.assert_allclose(module(torch.from_numpy(pixels)).numpy(), expected, rtol=1e-4, atol=1e-5)


def node(kind, inputs, output="features", **attributes):
    return helper.make_node(kind, inputs, [output], **attributes)


@pytest.mark.parametrize(
    ("nodes", "opset"),
    [
        ([node("GroupNormalization", ["pixels", "s", "b"], "x", num_groups=3), node("HardSwish", ["x"])], 21),
        ([node("InstanceNormalization", ["pixels", "s", "b"], "x"), node("PRelu", ["x", "p"])], 17),
        ([node("LRN", ["pixels"], "x", size=3), node("Softplus", ["x"], "y"), node("GlobalMaxPool", ["y"])], 17),
        (
            [
                node("Transpose", ["pixels"], "t", perm=[0, 2, 3, 1]),
                node("LayerNormalization", ["t", "s", "b"], "x"),
                node("Gelu", ["x"], "y"),
                node("ReduceL2", ["y", "a"], keepdims=0),
            ],
            20,
        ),
    ],
)
def test_norms_and_activations_are_onnxs_own(nodes, opset, tmp_path):
    random = np.random.default_rng(0)
    weights = {name: random.normal(size=size).astype(np.float32) for name, size in (("s", 3), ("b", 3), ("p", (3, 1, 1)))}
    used = {name for each in nodes for name in each.input}
    model = graph(nodes, ["N", 3, 6, 5], {k: v for k, v in {**weights, "a": np.array([3])}.items() if k in used}, opset=opset)
    pixels = random.normal(size=(3, 3, 6, 5)).astype(np.float32)
    (expected,) = open_session(saved(model, tmp_path / "model.onnx")).run(None, {"pixels": pixels})
    module, _ = module_of(model, shape=(3, 6, 5))
    np.testing.assert_allclose(module(torch.from_numpy(pixels)).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_an_operator_that_is_not_known_is_named():
    for domain, kind in (("com.microsoft", "FusedConv"), ("", "NonMaxSuppression")):
        model = graph([helper.make_node(kind, ["pixels"], ["features"], domain=domain, name="layer 7")], ["N", 3, SIDE, SIDE])
        with pytest.raises(UnknownOperatorError, match=rf"{kind}.*layer 7"):
            module_of(model)


def test_what_does_not_hang_on_the_image_is_refused():
    model = channels_mean()
    model.graph.node.append(helper.make_node("Identity", ["matrix"], ["constant"]))
    with pytest.raises(EncoderImportError, match="does not depend on the image"):
        module_of(model, output="constant")
    whole = graph([helper.make_node("ReduceMean", ["pixels"], ["features"], keepdims=0)], ["N", *SHAPE])
    with pytest.raises(EncoderImportError, match="no row for each image"):
        module_of(whole)
    first = graph([helper.make_node("Squeeze", ["pixels"], ["features"], axes=[0])], [1, *SHAPE], opset=11)
    with pytest.raises(EncoderImportError, match="axis of the batch"):
        module_of(first, 1)


def test_a_size_that_the_graph_is_not_of_is_said():
    model = exported(trained(Transformer), opset=17)
    with pytest.raises(EncoderImportError, match=r"cannot be computed of \[N, 37, 8\]"):
        module_of(model, shape=(3, 24, 24))


def test_half_precision_is_computed_in_float32():
    model = channels_mean()
    (matrix,) = model.graph.initializer
    half = onnx.numpy_helper.to_array(matrix).astype(np.float16)
    matrix.CopyFrom(onnx.numpy_helper.from_array(half, "matrix"))
    module, _ = module_of(model)
    pixels = torch.rand(2, *SHAPE)
    torch.testing.assert_close(module(pixels), pixels.mean((2, 3)) @ torch.from_numpy(half).float())
