"""Requests and replies of the Open Inference Protocol as values, which both of its transports make and read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field

from holdfast.server.api.open_inference.tensors import InputTensor, OutputTensor, Parameter, shown
from holdfast.server.core.errors import RequestError


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that a caller wants. `field` is what errors call it, such as "outputs[0]"."""

    field: str
    name: str
    parameters: Mapping[str, Parameter] = dataclass_field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InferRequest:
    """One request.

    Attributes:
        model_name, model_version: as asked for; an empty version is whichever is served.
        id: the caller's own, which the reply repeats.
        inputs: as they were sent.
        outputs: that are wanted; none for those of a reply where nobody asks.
        parameters: beside the request.

    """

    model_name: str
    model_version: str
    id: str
    inputs: Sequence[InputTensor]
    outputs: Sequence[RequestedOutput]
    parameters: Mapping[str, Parameter]


@dataclass(frozen=True, slots=True)
class InferReply:
    """What the model said, and which it was; the outputs are in the order of the request."""

    model_name: str
    model_version: str
    id: str
    outputs: Sequence[OutputTensor]


def check_parameters(request: InferRequest) -> None:
    """Refuse parameters that are no finite numbers, or that ask for what is not offered. Raises RequestError with the field."""
    for place, parameters in (
        ("", request.parameters),
        *((each.field, each.parameters) for each in request.inputs),
        *((each.field, each.parameters) for each in request.outputs),
    ):
        for name, value in parameters.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise RequestError(_field(place, name), f"is {value}; send a finite number")
            if name.startswith("shared_memory_"):
                raise RequestError(_field(place, name), "is not offered: tensors come in requests and go in replies")


def flag(parameters: Mapping[str, Parameter], name: str, place: str = "") -> bool:
    """A parameter that is true or false, and false where it is not there. Raises RequestError where it is neither."""
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise RequestError(_field(place, name), f"is {shown(value)}; send true or false")
    return value


def whole_number(parameters: Mapping[str, Parameter], name: str, place: str = "") -> int | None:
    """A parameter that is a whole number of 0 or more; None where it is not there. Raises RequestError of another."""
    value = parameters.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise RequestError(_field(place, name), f"is {shown(value)}; send a whole number of 0 or more")
    return value


def _field(place: str, name: str) -> str:
    return f"{place}.parameters.{name[:60]}".lstrip(".")
