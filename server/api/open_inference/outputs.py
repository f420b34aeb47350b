"""From the core's answers to the tensors of a reply."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import ImageError
from holdfast.server.api.open_inference.messages import RequestedOutput, whole_number
from holdfast.server.api.open_inference.tensors import BYTE_S, BYTES, DTYPES, OutputTensor, shown
from holdfast.server.core.description import ModelDescription
from holdfast.server.core.errors import RequestError
from holdfast.server.core.result import Answer, Result
from holdfast.server.decoding.turns import LoopTurns

PROBABILITIES, EMBEDDING, ERROR = "probabilities", "embedding", "error"

_TEXT_S, _TEXT_BYTES, _ROW_S = 5e-7, 32, 2e-6
"""Seconds that the text of one class takes, and its bytes, about; and seconds of one image in a tensor of several values."""


@dataclass(frozen=True, slots=True)
class OutputKind:
    """An output that the model gives.

    Attributes:
        name, datatype: as metadata and replies have them.
        width: of the model, values for each image; None where there is one, and the tensor has one side.
        asked_for: whether it is given only where a request names it.
        neighbours: whether it has a value for each neighbour, nearest first, as many as the request says.
        certificate: whether it is one.

    """

    name: str
    datatype: str
    width: Callable[[ModelDescription], int] | None = None
    asked_for: bool = False
    neighbours: bool = False
    certificate: bool = False

    def shape(self, model: ModelDescription, images: int) -> tuple[int, ...]:
        """[N], or [N, width]."""
        return (images,) if self.width is None else (images, self.width(model))


OUTPUTS: dict[str, OutputKind] = {
    kind.name: kind
    for kind in (
        OutputKind("label", "INT64"),
        OutputKind("label_name", BYTES),
        OutputKind(PROBABILITIES, "FP32", lambda model: len(model.class_names)),
        OutputKind("credibility", "FP64"),
        OutputKind("confidence", "FP64"),
        OutputKind("abstain", "BOOL"),
        OutputKind("soft_margin", "FP32"),
        OutputKind("kth_neighbour_distance", "FP32"),
        OutputKind("kth_neighbour_distance_p_value", "FP64"),
        OutputKind("softmax_response", "FP32"),
        OutputKind("poison_tolerance", "INT64", asked_for=True, certificate=True),
        OutputKind("feature_shift", "FP64", asked_for=True, certificate=True),
        *(
            OutputKind(name, datatype, lambda _: -1, asked_for=True, neighbours=True)
            for name, datatype in (
                ("neighbour_ids", "INT64"),
                ("neighbour_labels", "INT64"),
                ("neighbour_similarities", "FP32"),
            )
        ),
        OutputKind(EMBEDDING, "FP32", lambda model: model.embedding_dim, asked_for=True),
        OutputKind(ERROR, BYTES, asked_for=True),
    )
}
"""What the model gives, in the order of a reply where nobody asks. `error` says of each image what is wrong with it."""

_COLUMNS = {
    "label": "labels",
    PROBABILITIES: "probabilities",
    "credibility": "credibility",
    "confidence": "confidence",
    "abstain": "abstain",
    "soft_margin": "soft_margin",
    "kth_neighbour_distance": "kth_distance",
    "kth_neighbour_distance_p_value": "kth_distance_p_value",
    "softmax_response": "softmax_response",
    "poison_tolerance": "poison_tolerance",
    "feature_shift": "feature_shift",
    EMBEDDING: "embeddings",
}
_MISSING: dict[str, int | float | bool] = {"INT64": -1, "FP32": np.nan, "FP64": np.nan, "BOOL": True}
"""What stands in the place of an image that has no answer: no class, no figure, and abstention."""


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """An output of a reply.

    Attributes:
        kind: which.
        classes: its largest so many values are wanted, as texts, "value:index:name"; None where it is wanted as it is.
        neighbours: values for each image, where it is of neighbours; at most the k of the vote.

    """

    kind: OutputKind
    classes: int | None = None
    neighbours: int = 0

    def shape(self, model: ModelDescription, images: int) -> tuple[int, ...]:
        """Of the reply's tensor, where it is wanted as it is."""
        return (images, self.neighbours) if self.kind.neighbours else self.kind.shape(model, images)


def wanted_outputs(requested: Sequence[RequestedOutput], neighbours: int, *, partial: bool) -> list[WantedOutput]:
    """What a reply has to hold.

    Args:
        requested: by the caller; none means what the model gives where nobody asks.
        neighbours: of each image in the outputs of neighbours.
        partial: whether images may fail alone: then `error` is among the latter.

    Raises:
        RequestError: an output that there is not, that is there twice, or that cannot be had in that form.

    """
    if not requested:
        return [WantedOutput(kind) for kind in OUTPUTS.values() if not kind.asked_for or (partial and kind.name == ERROR)]
    if len(requested) > len(OUTPUTS):
        raise RequestError("outputs", f"has {len(requested)} outputs; the model gives {len(OUTPUTS)}")
    wanted: dict[str, WantedOutput] = {}
    for each in requested:
        kind = OUTPUTS.get(each.name)
        if kind is None:
            raise RequestError(f"{each.field}.name", f"is {shown(each.name)}; the model gives {', '.join(OUTPUTS)}")
        if each.name in wanted:
            raise RequestError(f"{each.field}.name", f"asks for {each.name!r} twice")
        wanted[each.name] = WantedOutput(kind, _classes(each), neighbours if kind.neighbours else 0)
    return list(wanted.values())


def _classes(requested: RequestedOutput) -> int | None:
    classes = whole_number(requested.parameters, "classification", requested.field)
    if classes and requested.name != PROBABILITIES:
        raise RequestError(f"{requested.field}.parameters.classification", f'is for "{PROBABILITIES}" alone')
    return classes or None


def size_of(wanted: Sequence[WantedOutput], model: ModelDescription, images: int) -> int:
    """Bytes of a reply with these outputs, about."""
    sizes = (DTYPES[each.kind.datatype].itemsize if each.kind.datatype != BYTES else _TEXT_BYTES for each in wanted)
    texts = sum(images * min(each.classes, len(model.class_names)) * _text_bytes(model) for each in wanted if each.classes)
    return texts + sum(size * math.prod(each.shape(model, images)) for size, each in zip(sizes, wanted, strict=True))


def _text_bytes(model: ModelDescription) -> int:
    """Of a class as a text, about: figures and name."""
    return _TEXT_BYTES + max(map(len, model.class_names), default=0)


async def outputs_of(result: Result, wanted: Sequence[WantedOutput], turns: LoopTurns, caller: str) -> list[OutputTensor]:
    """The tensors of a reply, of N images each. An image without an answer has label -1, NaN for figures, and abstains.

    What takes long waits for its turn of the event loop.
    """
    return [await _output(result, each, turns, caller) for each in wanted]


async def _output(result: Result, wanted: WantedOutput, turns: LoopTurns, caller: str) -> OutputTensor:
    kind, count = wanted.kind, len(result.outcomes)
    shape = wanted.shape(result.model, count)
    if kind.name == ERROR:
        texts = [outcome.reason.encode() if isinstance(outcome, ImageError) else b"" for outcome in result.outcomes]
        return OutputTensor(ERROR, BYTES, shape, texts)
    if kind.name == "label_name":
        names = _names_of(result.model.class_names)
        values = [names[outcome.label] if isinstance(outcome, Answer) else b"" for outcome in result.outcomes]
        return OutputTensor(kind.name, BYTES, shape, values)
    if shape[1:]:
        await turns.take(caller, BYTE_S * DTYPES[kind.datatype].itemsize * math.prod(shape) + _ROW_S * count)
    if kind.neighbours:
        return OutputTensor(kind.name, kind.datatype, shape, _neighbours(result, kind, shape))
    column = _column(result, kind, shape)
    if wanted.classes is not None:
        return await _largest(result, column, wanted.classes, turns, caller)
    return OutputTensor(kind.name, kind.datatype, shape, column)


def _column(result: Result, kind: OutputKind, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """One column of all answers, a batch of the model at a time."""
    column: NDArray[np.generic] = np.full(shape, _MISSING[kind.datatype], DTYPES[kind.datatype])
    answered = [(place, outcome) for place, outcome in enumerate(result.outcomes) if isinstance(outcome, Answer)]
    for _, group in groupby(answered, key=lambda pair: id(pair[1].batch)):
        pairs = list(group)
        rows = [answer.row for _, answer in pairs]
        column[[place for place, _ in pairs]] = getattr(pairs[0][1].batch, _COLUMNS[kind.name])[rows]
    return column


def _neighbours(result: Result, kind: OutputKind, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """One figure of each image's neighbours. An approximate index may find fewer: what is missing has the id -1."""
    column: NDArray[np.generic] = np.full(shape, _MISSING[kind.datatype], DTYPES[kind.datatype])
    for place, outcome in enumerate(result.outcomes):
        if isinstance(outcome, Answer):
            nearest = outcome.batch.neighbours
            columns: dict[str, NDArray[np.generic]] = {
                "neighbour_ids": nearest.ids,
                "neighbour_labels": outcome.batch.neighbour_labels,
                "neighbour_similarities": nearest.similarities,
            }
            found = columns[kind.name][outcome.row, : shape[1]]
            column[place, : len(found)] = found
    return column


async def _largest(
    result: Result, probabilities: NDArray[np.generic], classes: int, turns: LoopTurns, caller: str
) -> OutputTensor:
    """The classes with the largest probabilities, largest first, ties by index. An image without an answer has empty texts."""
    classes = min(classes, probabilities.shape[1])
    order = np.argsort(np.negative(probabilities), axis=1, kind="stable")[:, :classes]
    names = _names_of(result.model.class_names)
    texts: list[bytes] = []
    for row, outcome in enumerate(result.outcomes):
        await turns.take(caller, _TEXT_S * classes)
        if isinstance(outcome, ImageError):
            texts += [b""] * classes
        else:
            largest = order[row].tolist()
            values = probabilities[row, largest].tolist()
            texts += [b"%.6f:%d:%s" % (value, c, names[c]) for value, c in zip(values, largest, strict=True)]
    return OutputTensor(PROBABILITIES, BYTES, (len(result.outcomes), classes), texts)


@lru_cache(maxsize=4)
def _names_of(class_names: tuple[str, ...]) -> tuple[bytes, ...]:
    """Classes' names in UTF-8: one of a folder may hold bytes that are none, which become "�"."""
    return tuple(name.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode() for name in class_names)
