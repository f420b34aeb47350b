"""What a model gives in the Open Inference Protocol: each output, its type, its shape and its values."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from holdfast.protos.inference import inference_pb2 as pb
from holdfast.server.api.open_inference.tensors import bytes_tensor
from holdfast.server.core.description import ModelDescription
from holdfast.server.core.errors import InvalidRequestError
from holdfast.server.core.result import Answer

if TYPE_CHECKING:
    from numpy.typing import NDArray

EMBEDDING = "embedding"

DEFAULT_NEIGHBOURS = 10
"""Neighbours in their outputs, where a call does not say how many."""

CLASSIFICATION = "classification"
"""The parameter of an output that asks for the most probable classes as text."""

YIELD_EVERY = 8
"""Images whose classes are written as text in a row before other calls get their turn."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call asks for.

    Attributes:
        outputs: in its order.
        neighbours: how many of each image's, at least 1 and at most the k of the vote.
        classes: how many classes are wanted as text, in the place of probabilities; 0: probabilities.

    """

    outputs: tuple["Output", ...]
    neighbours: int
    classes: int = 0

    @property
    def names(self) -> set[str]:
        """Of the outputs."""
        return {output.name for output in self.outputs}


@dataclass(frozen=True, slots=True)
class Output:
    """One output.

    Attributes:
        name: of the protocol's tensor.
        datatype: the protocol's name of its elements' type.
        dims: dimensions after that of the images, of a model; -1 for what a call says.
        values: rows of it, of answers; [N, ...] in the type of `datatype`.

    """

    name: str
    datatype: str
    dims: Callable[[ModelDescription], list[int]]
    values: Callable[[ModelDescription, Sequence[Answer], Wanted], "NDArray[np.generic]"]


def _none(_: ModelDescription) -> list[int]:
    return []


def _any(_: ModelDescription) -> list[int]:
    return [-1]


def _column(name: str, kind: type) -> Callable[..., "NDArray[np.generic]"]:
    """An attribute of each answer."""
    return lambda _, answers, __: np.array([getattr(answer, name) for answer in answers], kind)


def _nearest(column: str) -> Callable[..., "NDArray[np.generic]"]:
    """Neighbours, nearest first. An approximate index may find fewer: the rest has the id -1, and says nothing."""

    def rows(_: ModelDescription, answers: Sequence[Answer], wanted: Wanted) -> "NDArray[np.generic]":
        return np.stack([_neighbour_columns(answer)[column][answer.row, : wanted.neighbours] for answer in answers])

    return rows


def _neighbour_columns(answer: Answer) -> dict[str, "NDArray[np.generic]"]:
    nearest = answer.batch.neighbours
    return {
        "ids": nearest.ids.astype(np.int64, copy=False),
        "classes": answer.batch.neighbour_labels.astype(np.int64, copy=False),
        "similarities": nearest.similarities.astype(np.float32, copy=False),
    }


OUTPUTS = (
    Output("label", "BYTES", _none, lambda model, answers, _: np.array([model.class_names[a.label] for a in answers], object)),
    Output("class", "INT64", _none, _column("label", np.int64)),
    Output(
        "probabilities",
        "FP32",
        lambda model: [len(model.class_names)],
        lambda _, answers, __: np.stack([answer.batch.probabilities[answer.row] for answer in answers]),
    ),
    Output("credibility", "FP32", _none, _column("credibility", np.float32)),
    Output("confidence", "FP32", _none, _column("confidence", np.float32)),
    Output("abstain", "BOOL", _none, _column("abstain", np.bool_)),
    Output("soft_margin", "FP32", _none, _column("soft_margin", np.float32)),
    Output("kth_neighbour_distance", "FP32", _none, _column("kth_distance", np.float32)),
)
"""What a call gets that names no outputs. Credibility and confidence are not a number where the bundle is not calibrated."""

NEIGHBOURS = (
    Output("neighbour_ids", "INT64", _any, _nearest("ids")),
    Output("neighbour_classes", "INT64", _any, _nearest("classes")),
    Output("neighbour_similarities", "FP32", _any, _nearest("similarities")),
)

EMBEDDINGS = (
    Output(
        EMBEDDING,
        "FP32",
        lambda model: [model.embedding_dim],
        lambda _, answers, __: np.stack([answer.embedding for answer in answers]),
    ),
)

ALL = (*OUTPUTS, *NEIGHBOURS, *EMBEDDINGS)
_BY_NAME = {output.name: output for output in ALL}


def wanted_by(request: pb.ModelInferRequest, model: ModelDescription) -> Wanted:
    """What a request asks for.

    Raises:
        InvalidRequestError: an output or a parameter that there is none of, an output twice, or embeddings beside others.

    """
    neighbours = _whole(request.parameters, "parameters", "neighbours", DEFAULT_NEIGHBOURS)
    chosen, classes = [], 0
    for place, asked in enumerate(request.outputs):
        output, where = _BY_NAME.get(asked.name), f"outputs[{place}]"
        if output is None or output in chosen:
            raise _fault(f"{where}.name", f"is {asked.name[:64]!r}; name some of {', '.join(_BY_NAME)}, each once")
        most = _whole(asked.parameters, f"{where}.parameters", CLASSIFICATION, 0)
        if most and output.name != "probabilities":
            raise _fault(f"{where}.parameters", f"{CLASSIFICATION} is for probabilities")
        chosen.append(output)
        classes = max(classes, min(most, len(model.class_names)))
    if len(chosen) > 1 and any(output.name == EMBEDDING for output in chosen):
        raise _fault("outputs", f"names {EMBEDDING} beside others; ask for it alone")
    return Wanted(tuple(chosen) or OUTPUTS, max(1, min(neighbours, model.vote.k)), classes)


async def write(response: pb.ModelInferResponse, model: ModelDescription, answers: Sequence[Answer], wanted: Wanted) -> None:
    """Put the outputs into a response."""
    for output in wanted.outputs:
        if output.name == "probabilities" and wanted.classes:
            texts = await _most_probable(model, answers, wanted.classes)
            tensor = response.outputs.add(name=output.name, datatype="BYTES")
            tensor.shape.extend((len(answers), wanted.classes))
            response.raw_output_contents.append(bytes_tensor(texts))
            continue
        values = output.values(model, answers, wanted)
        response.outputs.add(name=output.name, datatype=output.datatype, shape=values.shape)
        if output.datatype == "BYTES":
            response.raw_output_contents.append(bytes_tensor([_utf8(name) for name in values.tolist()]))
        else:
            little = values.astype(values.dtype.newbyteorder("<"), copy=False)
            response.raw_output_contents.append(little.tobytes())


async def _most_probable(model: ModelDescription, answers: Sequence[Answer], count: int) -> list[bytes]:
    """So many classes of each image, the most probable first and ties by class, as "probability:class:name"."""
    texts = []
    for place, answer in enumerate(answers):
        if place % YIELD_EVERY == YIELD_EVERY - 1:
            await asyncio.sleep(0)
        row = answer.batch.probabilities[answer.row]
        first = np.argsort(-row, kind="stable")[:count]
        texts += [f"{row[c]:.6f}:{c}:".encode() + _utf8(model.class_names[c]) for c in first.tolist()]
    return texts


def _utf8(name: str) -> bytes:
    return name.encode("utf-8", "replace")


def _whole(given: Mapping[str, pb.InferParameter], where: str, name: str, otherwise: int) -> int:
    """The one parameter that is known there."""
    unknown = sorted(set(given) - {name})
    if unknown:
        raise _fault(where, f"has {', '.join(each[:64] for each in unknown[:8])}; only {name} is known there")
    if name not in given:
        return otherwise
    kind = given[name].WhichOneof("parameter_choice")
    if kind not in {"int64_param", "uint64_param"} or (value := int(getattr(given[name], kind))) < 1:
        raise _fault(where, f"{name} is a whole number of at least 1")
    return value


def _fault(field: str, reason: str) -> InvalidRequestError:
    return InvalidRequestError([(field, reason)])
