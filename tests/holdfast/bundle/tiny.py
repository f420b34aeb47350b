"""A tiny real bundle: an encoder of a few ONNX nodes, an index of 40 exemplars in two classes."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from holdfast.bundle.exemplars import Exemplars
from holdfast.bundle.manifest import DataRecord, IndexRecord, Manifest, ThreatModelRecord, Training
from holdfast.bundle.writer import BundleWriter
from holdfast.model.encoder.onnx import OnnxEncoder
from holdfast.model.preprocess import InputContract
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.vote import VoteParameters

SIDE, DIM = 8, 6


def write_encoder(
    path: Path, side: int = SIDE, dim: int = DIM, dtype: int = TensorProto.UINT8, weights: type = np.float32
) -> None:
    """images -> cast -> /255 -> flatten -> linear, by weights rounded to `weights` -> L2 norm."""
    weight = np.random.default_rng(0).normal(size=(side * side * 3, dim)).astype(weights).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["float", "scale"], ["pixels"]),
            helper.make_node("Flatten", ["pixels"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], ["z"]),
            helper.make_node("LpNormalization", ["z"], ["embeddings"], axis=1, p=2),
        ],
        "encoder",
        [helper.make_tensor_value_info("images", dtype, ["n", side, side, 3])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", dim])],
        [numpy_helper.from_array(np.float32(255), "scale"), numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.save(model, str(path))


def manifest(**changes: object) -> Manifest:
    training = Training(
        command="python -m trainer",
        seed=0,
        commit="0" * 40,
        objective="none",
        encoder="linear",
        steps=0,
        seconds=0,
        data=DataRecord(name="digits", sha256="0" * 64, calibration=0, seed=0),
    )
    values: dict[str, object] = {
        "name": "tiny",
        "created": "2026-01-01T00:00:00Z",
        "input": InputContract(height=SIDE, width=SIDE),
        "embedding_dim": DIM,
        "class_names": ("dark", "light"),
        "vote": VoteParameters(k=5),
        "threat_model": ThreatModelRecord(norm="linf", epsilon=8 / 255),
        "training": training,
    }
    return Manifest(**(values | changes))


def images_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size=(count, SIDE, SIDE, 3), dtype=np.uint8)


def write_bundle(directory: Path) -> Path:
    writer = BundleWriter.create(directory)
    writer.add("encoder.onnx", write_encoder)
    embeddings = OnnxEncoder(directory / "encoder.onnx").embed(images_of(40))
    ids = np.arange(40)
    writer.add("index.faiss", FlatIndex.build(embeddings, ids).save)
    table = Exemplars(ids, ids % 2, np.array([f"tiny/{i}" for i in ids]), np.zeros(40, dtype=np.uint8))
    writer.add("exemplars.npz", table.save)
    record = IndexRecord(exemplars=40, recall_at_k=1, disagreement_ratio=0, command="test")
    writer.commit(manifest(index=record))
    return directory
