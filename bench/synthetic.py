"""A small complete bundle out of nothing, for benchmarks of the machinery and for tests: no training, no data set.

    python -m bench.synthetic DIR

Its encoder is linear, z = Wx / ||Wx|| with random W, so its gradient graph can be written down by hand:
d<z, v>/dx = W' (v - z <z, v>) / ||Wx||. Its images are noisy copies of one random picture per class, which such an encoder
separates well.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from holdfast.bundle.exemplars import Exemplars
from holdfast.bundle.manifest import DataRecord, Manifest, ThreatModelRecord, TrainingRecord
from holdfast.bundle.reader import Bundle
from holdfast.bundle.sources import Sources
from holdfast.bundle.writer import BundleWriter
from holdfast.flags import whole_number
from holdfast.model.credibility import calibrate_retriever
from holdfast.model.preprocess import InputContract
from holdfast.model.retrieval.base import Bank
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.vote import VoteParameters

Pixels = NDArray[np.uint8]
SIDE, DIM, CLASSES, K = 32, 32, 4, 15
PIXELS = SIDE * SIDE * 3


def images(per_class: int, seed: int, classes: int = CLASSES) -> tuple[Pixels, NDArray[np.int64]]:
    """Noisy copies of each class's picture: uint8 [N, 32, 32, 3] and int64 [N], classes in turn."""
    pictures = np.random.default_rng(0).integers(64, 192, (classes, SIDE, SIDE, 3))
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(classes), per_class)
    noisy = pictures[labels] + rng.normal(0, 24, (len(labels), SIDE, SIDE, 3))
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8), labels


def write_bundle(directory: Path, *, exemplars_per_class: int = 50) -> Bundle:
    """Writes the bundle and opens it."""
    weights = np.random.default_rng(1).standard_normal((PIXELS, DIM)).astype(np.float32) / np.float32(PIXELS**0.5)
    weights -= weights.mean(axis=0)  # grey says nothing
    writer = BundleWriter.create(directory)
    writer.add("encoder.onnx", lambda path: onnx.save(encoder_of(weights), str(path)))
    writer.add("gradient.onnx", lambda path: onnx.save(_gradient(weights), str(path)))
    manifest = writer.commit(manifest_of())
    encoder = Bundle.open_encoder(directory).encoder
    pixels, labels = images(exemplars_per_class, seed=2)
    ids = np.arange(len(labels))
    index = FlatIndex.build(Bank(encoder.embed(pixels), ids, labels))
    sources = Sources.of(f"synthetic/{i}" for i in ids.tolist())
    exemplars = Exemplars(ids, labels, sources, np.zeros(len(ids), np.uint8))
    held_out, truth = images(25, seed=3)
    calibration = calibrate_retriever(index, manifest.vote, encoder.embed(held_out), truth, classes=CLASSES)
    writer.add("index.faiss", index.save)
    writer.add("exemplars.npz", exemplars.save)
    writer.commit(manifest.model_copy(update={"calibration": calibration}))
    return Bundle.open(directory)


def manifest_of(dim: int = DIM) -> Manifest:
    """Of an encoder of so many dimensions, before there is an index."""
    data = DataRecord(name="synthetic", sha256="0" * 64, calibration=100, seed=0)
    return Manifest(
        name="synthetic",
        created="2026-01-01T00:00:00Z",
        input=InputContract(height=SIDE, width=SIDE),
        embedding_dim=dim,
        class_names=tuple("abcd"),
        vote=VoteParameters(k=K, weighting="uniform", temperature=0.1),
        threat_model=ThreatModelRecord(norm="linf", epsilon=8 / 255),
        training=TrainingRecord(
            command="python -m bench.synthetic",
            seed=0,
            commit="",
            objective="none",
            encoder="linear",
            steps=0,
            seconds=0,
            data=data,
        ),
    )


def encoder_of(weights: NDArray[np.float32]) -> onnx.ModelProto:
    """One product of the pixels and float32 [PIXELS, D] weights, and a division by the length."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "white"], ["pixels"]),
        *_embed(),
    ]
    inputs = [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", SIDE, SIDE, 3])]
    outputs = [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", weights.shape[1]])]
    return _model(nodes, inputs, outputs, {**_constants(weights), "white": np.array(255, np.float32)})


def _gradient(weights: NDArray[np.float32]) -> onnx.ModelProto:
    nodes = [
        *_embed(),
        helper.make_node("Mul", ["embeddings", "cotangents"], ["products"]),
        helper.make_node("ReduceSum", ["products", "last"], ["along"], keepdims=1),
        helper.make_node("Mul", ["embeddings", "along"], ["radial"]),
        helper.make_node("Sub", ["cotangents", "radial"], ["tangential"]),
        helper.make_node("Div", ["tangential", "length"], ["scaled"]),
        helper.make_node("MatMul", ["scaled", "transposed"], ["flat_gradients"]),
        helper.make_node("Reshape", ["flat_gradients", "image_shape"], ["gradients"]),
    ]
    picture: list[str | int | None] = ["n", SIDE, SIDE, 3]
    inputs = [
        helper.make_tensor_value_info("pixels", TensorProto.FLOAT, picture),
        helper.make_tensor_value_info("cotangents", TensorProto.FLOAT, ["n", DIM]),
    ]
    outputs = [helper.make_tensor_value_info("gradients", TensorProto.FLOAT, picture)]
    more = {"transposed": np.ascontiguousarray(weights.T), "image_shape": np.array([-1, SIDE, SIDE, 3])}
    return _model(nodes, inputs, outputs, {**_constants(weights), **more})


def _embed() -> list[onnx.NodeProto]:
    """From pixels to embeddings, and the length they had before."""
    return [
        helper.make_node("Reshape", ["pixels", "flat_shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["raw"]),
        helper.make_node("ReduceL2", ["raw", "last"], ["length"], keepdims=1),
        helper.make_node("Div", ["raw", "length"], ["embeddings"]),
    ]


def _constants(weights: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
    return {"weights": weights, "flat_shape": np.array([-1, PIXELS]), "last": np.array([1])}


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, NDArray[np.generic]],
) -> onnx.ModelProto:
    used = {name for node in nodes for name in node.input}
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items() if name in used]
    graph = helper.make_graph(nodes, "synthetic", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def main() -> int:
    """Writes the bundle to the directory given."""
    parser = argparse.ArgumentParser(prog="python -m bench.synthetic", description="Write a synthetic bundle.")
    parser.add_argument("directory", type=Path, help="where to write it")
    parser.add_argument("--exemplars-per-class", type=whole_number(1), default=50, help="default: %(default)s")
    options = parser.parse_args()
    bundle = write_bundle(options.directory, exemplars_per_class=options.exemplars_per_class)
    print(f"{bundle.directory}: {bundle.index.size} exemplars of {len(bundle.class_names)} classes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
