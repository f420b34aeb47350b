"""The encoder in float16: what of it is, how near it stays, and that it is left out where it does not."""

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, numpy_helper, shape_inference
from torch import nn

from holdfast.bundle.writer import BundleWriter
from holdfast.errors import DeviceError
from holdfast.model.encoder.agreement import FLOAT16_TOLERANCE, cosine_distance
from holdfast.model.encoder.bucketed import BucketedEncoder
from holdfast.model.encoder.device import find_gpu
from holdfast.model.encoder.onnx import OnnxEncoder
from holdfast.trainer.encoders import AmdimConfig, ResNetConfig, build_encoder
from holdfast.trainer.export.float16_graph import BeyondFloat16Error, in_float16
from holdfast.trainer.export.graphs import Lacking, export, write_graphs
from holdfast.trainer.export.half_weights import halve
from holdfast.trainer.export.parity import EMULATED, float16_distance
from holdfast.trainer.export.whitening import Whitened
from tests.trainer.export.conftest import CONTRACT, warmed

FILE = "encoder_float16.onnx"


ENCODERS = {
    "deep": lambda: Whitened(warmed(build_encoder(ResNetConfig(8, 2, 16, activation="mish", stages=4)))).eval(),
    "amdim": lambda: warmed(build_encoder(AmdimConfig(width=16, n_rkhs=40, depth=2))),
}


@pytest.fixture(scope="module", params=["small", *(pytest.param(name, marks=pytest.mark.slow) for name in ENCODERS)])
def written(request, small_in_half, tmp_path_factory):
    if request.param == "small":
        encoder, folder = small_in_half
        return encoder, folder / "shared"
    torch.manual_seed(0)
    encoder = ENCODERS[request.param]()
    folder = tmp_path_factory.mktemp(request.param)
    assert write_graphs(encoder, folder, CONTRACT, half=True) == Lacking()
    return encoder, folder


def embeddings_of(encoder: nn.Module, images: np.ndarray) -> np.ndarray:
    """What torch computes in float32."""
    with torch.no_grad():
        return F.normalize(encoder((torch.from_numpy(images).float() / 255).permute(0, 3, 1, 2)), dim=1).numpy()


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    graph = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    found = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    return found | {tensor.name: tensor.data_type for tensor in graph.initializer}


def test_convolutions_of_maps_are_float16_and_nothing_before_or_behind_them(written) -> None:
    _, folder = written
    onnx.checker.check_model(folder / FILE, full_check=True)
    model = onnx.load(folder / FILE)
    types, nodes = types_of(model), model.graph.node
    assert [types[value.name] for value in (*model.graph.input, *model.graph.output)] == [TensorProto.UINT8, TensorProto.FLOAT]
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    inside = [node for node in convolutions if types[node.output[0]] == TensorProto.FLOAT16]
    # All but the projection behind the pooling, where there is one.
    assert len(convolutions) - len(inside) == any(node.op_type == "ReduceMean" for node in nodes)
    for node in nodes:
        if node.op_type in {"Div", "Sub", "Transpose", "ReduceMean", "ReduceSum", "Gemm", "Reciprocal", "Pow"}:
            assert types[node.output[0]] != TensorProto.FLOAT16 or node.name in {n.name for n in inside}
    # Between the first convolution and the last nothing goes through float32: a cast would cost what float16 gains.
    first, last = (nodes[:].index(node) for node in (inside[0], inside[-1]))
    between = [
        node for node in nodes[first:last] if node.op_type == "Cast" and node.input[0] in {o for n in nodes for o in n.output}
    ]
    assert between == []


def test_it_stays_near_torch_and_so_does_its_emulation(written) -> None:
    encoder, folder = written
    images = np.random.default_rng(3).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    expected = embeddings_of(encoder, images)
    distances = {}
    for name in (FILE, EMULATED, "encoder.onnx"):
        z = OnnxEncoder(folder / name).embed(images)
        np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-5)  # length is computed in float32
        distances[name] = cosine_distance(z, expected)
    assert distances["encoder.onnx"].max() < 1e-11 < np.median(distances[EMULATED])
    assert float16_distance(encoder, folder, {"x": images}) == pytest.approx(
        max(distances[FILE].max(), distances[EMULATED].max()), rel=0.01
    )
    assert distances[EMULATED].max() < FLOAT16_TOLERANCE


@pytest.mark.gpu
def test_a_real_gpu_computes_what_the_emulation_does(written) -> None:
    try:
        find_gpu()
    except DeviceError as error:
        pytest.skip(str(error))
    encoder, folder = written
    images = np.random.default_rng(3).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    expected = embeddings_of(encoder, images)
    on_gpu = BucketedEncoder(folder / FILE, device="cuda", max_batch=32).embed(images)
    emulated = cosine_distance(OnnxEncoder(folder / EMULATED).embed(images), expected)
    found = cosine_distance(on_gpu, expected)
    assert found.max() <= FLOAT16_TOLERANCE
    assert np.median(emulated) / 10 < np.median(found) < 10 * np.median(emulated)  # in float16, and no worse than expected


def test_the_emulation_rounds_the_result_of_each_operator(written) -> None:
    _, folder = written
    model = onnx.load(folder / EMULATED)
    rounded = [node.output[0] for node in onnx.load(folder / FILE).graph.node if node.op_type == "Conv"]
    shown = [name for name in rounded if f"{name}.exact" in {o for n in model.graph.node for o in n.output}]
    assert len(shown) >= len(rounded) - 1
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in shown)
    session = onnx_session(model)
    images = np.random.default_rng(3).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    for maps in session.run(shown, {"images": images}):
        np.testing.assert_array_equal(maps, maps.astype(np.float16).astype(np.float32))


def onnx_session(model: onnx.ModelProto):
    from holdfast.model.encoder.onnx_runtime import onnxruntime as ort

    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def test_weights_used_by_both_precisions_are_in_both() -> None:
    """As a BatchNorm's scale that happens to be the same before and behind the last maps."""
    graph = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[N, 3, 8, 8] x) => (float[N, 3, 8, 8] y)
        <float[3, 3, 1, 1] w, float[1, 3, 8, 8] s> {
            a = Conv(x, w)
            b = Mul(a, s)
            c = Conv(b, w)
            y = Mul(c, s)
        }
    """)
    del graph.graph.initializer[:]
    random = np.random.default_rng(0)
    w, s = random.standard_normal((3, 3, 1, 1), dtype=np.float32), random.standard_normal((1, 3, 8, 8), dtype=np.float32)
    graph.graph.initializer.extend([numpy_helper.from_array(w, "w"), numpy_helper.from_array(s, "s")])
    model = in_float16(graph)
    halve(model)
    onnx.checker.check_model(model, full_check=True)
    x = random.standard_normal((2, 3, 8, 8), dtype=np.float32)
    (y,) = onnx_session(model).run(None, {"x": x})
    (expected,) = onnx_session(graph).run(None, {"x": x})
    np.testing.assert_allclose(y, expected, atol=0.02)
    assert [node.op_type for node in model.graph.node] == ["Cast", "Conv", "Mul", "Conv", "Cast", "Mul"]


class Loud(nn.Module):
    """Two convolutions with maps of thousands between them; the second takes the size away again."""

    def __init__(self, loudness: float, weight: float = 1.0) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, bias=False), nn.Conv2d(16, 8, 3, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(self.first.weight.sign() * weight)
        self.loudness = loudness

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(pixels) * self.loudness).mean((2, 3))


@pytest.mark.parametrize("loudness", [1.0, 1e4])
def test_what_overflows_is_left_out_and_said(tmp_path, loudness) -> None:
    torch.manual_seed(0)
    writer = BundleWriter.create(tmp_path / "bundle")
    parity = export(Loud(loudness), writer, CONTRACT, half=True)
    names = {path.name for path in (tmp_path / "bundle").iterdir()}
    if loudness == 1:
        assert names == {"encoder.onnx", "gradient.onnx", "weights.bin", FILE}
        assert 0 < parity.float16 <= FLOAT16_TOLERANCE
        assert f", {FILE} within a cosine distance of " in str(parity)
    else:
        assert names == {"encoder.onnx", "gradient.onnx", "weights.bin"}
        assert parity.float16 is None
        assert f"; there is no {FILE}: float16 moves an embedding by a cosine distance of nan; 5e-05 is allowed" in str(parity)


def test_a_weight_beyond_float16_is_named(tmp_path) -> None:
    parity = export(Loud(1.0, weight=1e5), tmp_path, CONTRACT, half=True)
    assert parity.float16 is None
    assert "first.weight" in parity.lacking
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder.onnx", "gradient.onnx", "weights.bin"]


def test_a_weight_too_large_is_an_error_of_its_own() -> None:
    graph = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[N, 1, 8, 8] x) => (float[N, 1, 8, 8] y) <float[1, 1, 1, 1] w = {70000.0}> { y = Conv(x, w) }
    """)
    for emulated in (False, True):
        with pytest.raises(BeyondFloat16Error, match="w "):
            in_float16(graph, emulated=emulated)
