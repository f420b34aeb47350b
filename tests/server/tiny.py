"""A tiny real bundle, of a few ONNX nodes, that tells three colours apart; and images to send."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from holdfast.bundle.exemplars import Exemplars
from holdfast.bundle.manifest import DataRecord, IndexRecord, Manifest, ThreatModelRecord, Training
from holdfast.bundle.writer import BundleWriter
from holdfast.model.credibility import calibrate
from holdfast.model.encoder.onnx import OnnxEncoder
from holdfast.model.preprocess import InputContract
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.vote import VoteParameters, vote
from holdfast.protos.holdfast.v1 import image_pb2

Pixels = NDArray[np.uint8]

SIDE, DIM, K = 16, 8, 5
COLOURS = {"red": (200, 60, 60), "green": (60, 200, 60), "blue": (60, 60, 200)}
CONTRACT = InputContract(height=SIDE, width=SIDE)


def coloured(label: int, count: int, seed: int) -> Pixels:
    """Noisy squares of a class's colour: uint8 [count, SIDE, SIDE, 3]."""
    noise = np.random.default_rng(seed).normal(0, 40, (count, SIDE, SIDE, 3))
    return np.clip(np.array(list(COLOURS.values())[label]) + noise, 0, 255).astype(np.uint8)


def png(image: Pixels, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def raw(image: Pixels) -> image_pb2.Image:
    message = image_pb2.RawImage(data=image.tobytes(), shape=image.shape, dtype=image_pb2.DATA_TYPE_UINT8)
    return image_pb2.Image(raw=message)


def encoder_graph(weights: NDArray[np.float32]) -> onnx.ModelProto:
    """images uint8 [N, H, W, C] -> images/255 flattened, times W, L2-normalised."""
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "full"], ["pixels"]),
        helper.make_node("Reshape", ["pixels", "flat_shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["z"]),
        helper.make_node("LpNormalization", ["z"], ["embeddings"], axis=1, p=2),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIDE, SIDE, 3])
    embeddings = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["N", DIM])
    constants = {"full": np.float32(255), "flat_shape": np.array([-1, SIDE * SIDE * 3]), "weights": weights}
    return _model(nodes, [images], [embeddings], constants)


def gradient_graph(weights: NDArray[np.float32]) -> onnx.ModelProto:
    """d <z/|z|, c> / d pixels = W (c - u <u, c>) / |z| with z = W'x and u = z/|z|."""
    nodes = [
        helper.make_node("Reshape", ["pixels", "flat_shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["z"]),
        helper.make_node("ReduceL2", ["z", "axes"], ["length"], keepdims=1),
        helper.make_node("Div", ["z", "length"], ["u"]),
        helper.make_node("Mul", ["u", "cotangents"], ["uc"]),
        helper.make_node("ReduceSum", ["uc", "axes"], ["along"], keepdims=1),
        helper.make_node("Mul", ["u", "along"], ["radial"]),
        helper.make_node("Sub", ["cotangents", "radial"], ["tangent"]),
        helper.make_node("Div", ["tangent", "length"], ["scaled"]),
        helper.make_node("MatMul", ["scaled", "transposed"], ["flat_gradients"]),
        helper.make_node("Reshape", ["flat_gradients", "image_shape"], ["gradients"]),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", SIDE, SIDE, 3])
    cotangents = helper.make_tensor_value_info("cotangents", TensorProto.FLOAT, ["N", DIM])
    gradients = helper.make_tensor_value_info("gradients", TensorProto.FLOAT, ["N", SIDE, SIDE, 3])
    constants = {
        "flat_shape": np.array([-1, SIDE * SIDE * 3]),
        "image_shape": np.array([-1, SIDE, SIDE, 3]),
        "axes": np.array([1]),
        "weights": weights,
        "transposed": np.ascontiguousarray(weights.T),
    }
    return _model(nodes, [pixels, cotangents], [gradients], constants)


def _model(nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: dict[str, Any]) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def write_bundle(directory: Path) -> None:
    weights = np.random.default_rng(7).normal(0, 0.1, (SIDE * SIDE * 3, DIM)).astype(np.float32)
    # The colour channels are what tells the classes apart: give each a coordinate of its own.
    for channel in range(3):
        weights[channel::3, channel] += 0.3
    writer = BundleWriter.create(directory)
    writer.add("encoder.onnx", lambda path: onnx.save(encoder_graph(weights), path))
    writer.add("gradient.onnx", lambda path: onnx.save(gradient_graph(weights), path))
    encoder = OnnxEncoder(directory / "encoder.onnx")
    labels = np.repeat(np.arange(3), 20)
    bank = encoder.embed(np.concatenate([coloured(label, 20, seed=label) for label in range(3)]))
    index, parameters = FlatIndex.build(bank, np.arange(60)), VoteParameters(k=K)
    held_out = encoder.embed(np.concatenate([coloured(label, 10, seed=100 + label) for label in range(3)]))
    found = index.search(held_out, K)
    counts = vote(found.similarities, labels[found.ids], 3, parameters).counts
    sources = np.array([f"tiny/{i}" for i in range(60)])
    exemplars = Exemplars(np.arange(60), labels, sources, np.zeros(60, dtype=np.uint8))
    writer.add("index.faiss", index.save)
    writer.add("exemplars.npz", exemplars.save)
    calibration = calibrate(counts, np.repeat(np.arange(3), 10))
    writer.commit(_manifest(parameters).model_copy(update={"calibration": calibration}))


def _manifest(parameters: VoteParameters) -> Manifest:
    return Manifest(
        name="tiny",
        created="2026-01-01T00:00:00Z",
        input=CONTRACT,
        embedding_dim=DIM,
        class_names=tuple(COLOURS),
        vote=parameters,
        threat_model=ThreatModelRecord(norm="linf", epsilon=8 / 255),
        training=Training(
            command="none",
            seed=0,
            commit="none",
            objective="none",
            encoder="linear",
            steps=0,
            seconds=0,
            data=DataRecord(name="folder", sha256="0" * 64, calibration=30, seed=0),
        ),
        index=IndexRecord(exemplars=60, recall_at_k=1, disagreement_ratio=0.05, command="none"),
    )
