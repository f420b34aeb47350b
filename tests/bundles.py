"""The one builder of small real bundles: a linear encoder of a few ONNX nodes, its gradient, exemplars and calibration."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from holdfast.bundle.calibration_set import CalibrationSet
from holdfast.bundle.exemplars import Exemplars
from holdfast.bundle.manifest import DataRecord, IndexRecord, Manifest, ThreatModelRecord, TrainingRecord
from holdfast.bundle.writer import BundleWriter
from holdfast.model.credibility import calibrate_retriever
from holdfast.model.encoder.onnx import OnnxEncoder
from holdfast.model.preprocess import InputContract
from holdfast.model.retrieval.base import Bank, Retriever
from holdfast.model.retrieval.table import build_retriever, writers_of
from holdfast.model.vote import VoteParameters

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

COLOURS = {"red": (200, 60, 60), "green": (60, 200, 60), "blue": (60, 60, 200)}


@dataclass(frozen=True)
class Linear:
    """An encoder z = W'(x - grey) / |W'(x - grey)| of pixels x in [0, 1], flattened.

    Attributes:
        weights: W, float32 [side * side * 3, D].
        side: height and width of its images.
        grey: what is taken off each pixel.

    """

    weights: Floats
    side: int
    grey: float = 0.0

    @classmethod
    def random(cls, side: int, dim: int, seed: int = 0, *, grey: float = 0.0) -> "Linear":
        """Normal weights: images that are near each other stay so."""
        return cls(np.random.default_rng(seed).normal(size=(side * side * 3, dim)).astype(np.float32), side, grey)

    @classmethod
    def of_colours(cls, side: int, dim: int, seed: int = 7) -> "Linear":
        """Weights that tell the images of `coloured` apart: each channel has a coordinate of its own."""
        weights = np.random.default_rng(seed).normal(0, 0.1, (side * side * 3, dim)).astype(np.float32)
        for channel in range(3):
            weights[channel::3, channel] += 0.3
        return cls(weights, side)

    def encoder(self, dtype: int = TensorProto.UINT8) -> onnx.ModelProto:
        """images [N, side, side, 3] of 0..255 -> embeddings float32 [N, D]."""
        nodes = [
            helper.make_node("Cast", ["images"], ["levels"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["levels", "white"], ["pixels"]),
            *self._projected(),
            helper.make_node("LpNormalization", ["z"], ["embeddings"], axis=1, p=2),
        ]
        constants = self._constants() | {"white": np.float32(255)}
        return _model(nodes, {"images": (dtype, self._image)}, {"embeddings": self._row}, constants)

    def gradient(self) -> onnx.ModelProto:
        """d <z/|z|, c> / d pixels = W (c - u <u, c>) / |z| with u = z/|z|."""
        nodes = [
            *self._projected(),
            helper.make_node("ReduceL2", ["z", "last"], ["length"], keepdims=1),
            helper.make_node("Div", ["z", "length"], ["u"]),
            helper.make_node("Mul", ["u", "cotangents"], ["products"]),
            helper.make_node("ReduceSum", ["products", "last"], ["along"], keepdims=1),
            helper.make_node("Mul", ["u", "along"], ["radial"]),
            helper.make_node("Sub", ["cotangents", "radial"], ["tangential"]),
            helper.make_node("Div", ["tangential", "length"], ["scaled"]),
            helper.make_node("MatMul", ["scaled", "transposed"], ["flat_gradients"]),
            helper.make_node("Reshape", ["flat_gradients", "image_shape"], ["gradients"]),
        ]
        constants = self._constants() | {
            "last": np.array([1]),
            "transposed": np.ascontiguousarray(self.weights.T),
            "image_shape": np.array([-1, self.side, self.side, 3]),
        }
        inputs = {"pixels": (TensorProto.FLOAT, self._image), "cotangents": (TensorProto.FLOAT, self._row)}
        return _model(nodes, inputs, {"gradients": self._image}, constants)

    @property
    def dim(self) -> int:
        return self.weights.shape[1]

    @property
    def _image(self) -> list[str | int]:
        return ["N", self.side, self.side, 3]

    @property
    def _row(self) -> list[str | int]:
        return ["N", self.dim]

    @staticmethod
    def _projected() -> list[onnx.NodeProto]:
        return [
            helper.make_node("Sub", ["pixels", "grey"], ["centred"]),
            helper.make_node("Flatten", ["centred"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["z"]),
        ]

    def _constants(self) -> dict[str, Any]:
        return {"grey": np.float32(self.grey), "weights": self.weights}


def _model(
    nodes: list[onnx.NodeProto], inputs: dict[str, Any], outputs: dict[str, Any], constants: dict[str, Any]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, *described) for name, described in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def saving(model: onnx.ModelProto) -> Callable[[Path], None]:
    """What BundleWriter.add takes."""
    return lambda path: onnx.save(model, str(path))


def coloured(
    label: int, count: int, seed: int, *, side: int = 16, colours: Sequence[tuple[int, ...]] = tuple(COLOURS.values())
) -> Pixels:
    """Noisy squares of a class's colour: uint8 [count, side, side, 3]."""
    noise = np.random.default_rng(seed).normal(0, 40, (count, side, side, 3))
    return np.clip(np.array(colours[label]) + noise, 0, 255).astype(np.uint8)


def of_every_colour(per_class: int, seed: int, **options: Any) -> tuple[Pixels, Labels]:
    """Images of `coloured`, as many of each class, the classes one after the other, and their labels."""
    classes = len(options.get("colours", COLOURS))
    images = np.concatenate([coloured(label, per_class, seed=seed + label, **options) for label in range(classes)])
    return images, np.repeat(np.arange(classes), per_class)


def manifest(side: int, dim: int, class_names: Sequence[str], /, **changes: Any) -> Manifest:
    """Of a bundle that nobody trained; `changes` are fields in the place of these."""
    training = TrainingRecord(
        command="python -m trainer",
        seed=0,
        commit="0" * 40,
        objective="none",
        encoder="linear",
        steps=0,
        seconds=0,
        data=changes.pop("data", DataRecord(name="digits", sha256="0" * 64, calibration=0, seed=0)),
    )
    values: dict[str, Any] = {
        "name": "tiny",
        "created": "2026-01-01T00:00:00Z",
        "input": InputContract(height=side, width=side),
        "embedding_dim": dim,
        "class_names": tuple(class_names),
        "vote": VoteParameters(k=5),
        "threat_model": ThreatModelRecord(norm="linf", epsilon=8 / 255),
        "training": training,
    }
    if "input" in changes and changes["input"].kind == "speech":
        values["threat_model"] = None
    return Manifest(**(values | changes))


def add_exemplars(
    writer: BundleWriter,
    embeddings: Floats,
    labels: Labels,
    *,
    sources: Sequence[str] | None = None,
    kind: str = "flat",
    disagreement: float = 0,
) -> tuple[Retriever, IndexRecord]:
    """Write an index of that kind and the exemplars' table; ids are row numbers."""
    ids = np.arange(len(labels))
    index = build_retriever(kind, Bank(embeddings, ids, labels))
    for name, write in writers_of(index).items():
        writer.add(name, write)
    names = np.array([f"tiny/{i}" for i in ids] if sources is None else sources)
    writer.add("exemplars.npz", Exemplars(ids, labels, names, np.zeros(len(ids), dtype=np.uint8)).save)
    record = IndexRecord(
        kind=index.kind,
        exemplars=len(ids),
        recall_at_k=1,
        disagreement_ratio=disagreement,
        command="none",
        parameters=dict(index.parameters),
    )
    return index, record


def write_bundle(
    directory: Path,
    encoder: Linear,
    class_names: Sequence[str],
    *,
    exemplars: tuple[Pixels, Labels] | None = None,
    held_out: tuple[Pixels, Labels] | None = None,
    gradient: bool = True,
    kind: str = "flat",
    disagreement: float = 0,
    **changes: Any,
) -> Path:
    """A bundle of any encoder.

    Args:
        directory: where to write it.
        encoder: its encoder.
        class_names: one a class.
        exemplars: labelled images to index; none leaves the bundle without an index.
        held_out: labelled images to calibrate on; none leaves it without credibility.
        gradient: whether it has a gradient graph.
        kind: of the index, or the address of a remote one.
        disagreement: what the manifest says of labels that their neighbours contradict.
        changes: fields of the manifest.

    """
    writer = BundleWriter.create(directory)
    writer.add("encoder.onnx", saving(encoder.encoder()))
    if gradient:
        writer.add("gradient.onnx", saving(encoder.gradient()))
    written = manifest(encoder.side, encoder.dim, class_names, **changes)
    if exemplars is not None:
        embed = OnnxEncoder(directory / "encoder.onnx").embed
        index, record = add_exemplars(writer, embed(exemplars[0]), exemplars[1], kind=kind, disagreement=disagreement)
        measured: dict[str, Any] = {"index": record}
        if held_out is not None:
            held = CalibrationSet(embed(held_out[0]), held_out[1], tuple(f"held-out/{i}" for i in range(len(held_out[1]))))
            writer.add("calibration.npz", held.save)
            measured["calibration"] = calibrate_retriever(
                index,
                written.vote,
                held.embeddings,
                held.labels,
                classes=len(class_names),
                open_set=written.input.kind == "speech",
            )
        written = written.model_copy(update=measured)
    writer.commit(written)
    return directory


def write_coloured_bundle(
    directory: Path,
    *,
    side: int = 16,
    dim: int = 8,
    colours: dict[str, tuple[int, int, int]] | None = None,
    per_class: int = 20,
    seed: int = 0,
    calibrated: bool = True,
    **options: Any,
) -> Path:
    """A bundle that tells colours apart, three by default; `options` are those of `write_bundle`."""
    colours = colours or COLOURS
    drawn: dict[str, Any] = {"side": side, "colours": tuple(colours.values())}
    return write_bundle(
        directory,
        Linear.of_colours(side, dim),
        tuple(colours),
        exemplars=of_every_colour(per_class, seed, **drawn),
        held_out=of_every_colour(10, seed + 100, **drawn) if calibrated else None,
        **options,
    )
