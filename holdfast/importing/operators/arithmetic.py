"""Operators that take number by number."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F

from holdfast.importing.graph_builder import Value
from holdfast.importing.operators.operator import Operator

FLOATS = {1: torch.float32, 10: torch.float32, 11: torch.float32, 16: torch.float32}
"""ONNX's numbers of its types. Half and double precision are computed in float32."""

TYPES = {**FLOATS, 2: torch.uint8, 3: torch.int8, 6: torch.int32, 7: torch.int64, 9: torch.bool}


def plain(function: Callable[..., Any]) -> Callable[[Operator], Value]:
    """An operator that is a torch function of its inputs."""
    return lambda op: op.builder.call(function, *(op.value(i) for i in range(len(op.inputs))))


def folded(function: Callable[..., Any]) -> Callable[[Operator], Value]:
    """An operator of any number of inputs, by a function of two."""
    return lambda op: reduce(lambda a, b: op.builder.call(function, a, b), [op.value(i) for i in range(len(op.inputs))])


def divide(op: Operator) -> Value:
    """Div: whole numbers are divided towards zero, as shapes are."""
    left, right = op.value(0), op.value(1)
    whole = not (left.examples[0].is_floating_point() or right.examples[0].is_floating_point())
    if whole:
        return op.builder.call(torch.div, left, right, rounding_mode="trunc")
    return op.builder.call(torch.div, left, right)


def power(op: Operator) -> Value:
    """Pow, by a number where the exponent is one: x * x where that is 2."""
    base, exponent = op.value(0), op.fixed(1)
    if exponent is None or exponent.examples[0].numel() != 1:
        return op.builder.call(torch.pow, base, op.value(1))
    number = exponent.examples[0].item()
    if number == 2:
        return op.builder.call(torch.mul, base, base)
    return op.builder.call(torch.sqrt, base) if number == 0.5 else op.builder.call(torch.pow, base, number)


def clip(op: Operator) -> Value:
    """Clip, between bounds that may be left out."""
    least, most = op.number("min", 1), op.number("max", 2)
    if least is None and most is None:
        return op.value(0)
    return op.builder.call(torch.clamp, op.value(0), least, most)


def cast(op: Operator) -> Value:
    """Cast. To half or double precision nothing happens, since all is computed in float32."""
    value, dtype = op.value(0), TYPES.get(op.attributes["to"])
    if dtype is None:
        raise op.fault(f"casts to type {op.attributes['to']} of ONNX")
    if all(each.dtype == dtype for each in value.examples):
        return value
    return op.builder.call(torch.Tensor.to, value, dtype)


def gelu(op: Operator) -> Value:
    """Gelu, exact or by tanh."""
    return op.builder.call(F.gelu, op.value(0), approximate=op.attributes.get("approximate", "none"))


def hard_sigmoid(op: Operator) -> Value:
    """HardSigmoid: alpha x + beta, cut to [0, 1]."""
    scaled = op.builder.call(torch.mul, op.value(0), op.attributes.get("alpha", 0.2))
    return op.builder.call(torch.clamp, op.builder.call(torch.add, scaled, op.attributes.get("beta", 0.5)), 0, 1)


def leaky_relu(op: Operator) -> Value:
    """LeakyRelu."""
    return op.builder.call(F.leaky_relu, op.value(0), op.attributes.get("alpha", 0.01))


def elu(op: Operator) -> Value:
    """Elu."""
    return op.builder.call(F.elu, op.value(0), op.attributes.get("alpha", 1.0))


def parametric_relu(op: Operator) -> Value:
    """PRelu: relu(x) - slope relu(-x), whose slope has the shape of a broadcast."""
    call, value = op.builder.call, op.value(0)
    negative = call(torch.mul, op.value(1), call(F.relu, call(torch.neg, value)))
    return call(torch.sub, call(F.relu, value), negative)


def mean_of(op: Operator) -> Value:
    """Mean of any number of inputs."""
    return op.builder.call(torch.div, folded(torch.add)(op), len(op.inputs))


OPERATORS: dict[str, Callable[[Operator], Value]] = {
    "Abs": plain(torch.abs),
    "Add": plain(torch.add),
    "And": plain(torch.logical_and),
    "Cast": cast,
    "Ceil": plain(torch.ceil),
    "Clip": clip,
    "Div": divide,
    "Dropout": lambda op: op.value(0),
    "Elu": elu,
    "Equal": plain(torch.eq),
    "Erf": plain(torch.erf),
    "Exp": plain(torch.exp),
    "Floor": plain(torch.floor),
    "Gelu": gelu,
    "Greater": plain(torch.gt),
    "GreaterOrEqual": plain(torch.ge),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": plain(F.hardswish),
    "Identity": lambda op: op.value(0),
    "LeakyRelu": leaky_relu,
    "Less": plain(torch.lt),
    "LessOrEqual": plain(torch.le),
    "Log": plain(torch.log),
    "Max": folded(torch.maximum),
    "Mean": mean_of,
    "Min": folded(torch.minimum),
    "Mish": plain(F.mish),
    "Mul": plain(torch.mul),
    "Neg": plain(torch.neg),
    "Not": plain(torch.logical_not),
    "Or": plain(torch.logical_or),
    "PRelu": parametric_relu,
    "Pow": power,
    "Reciprocal": plain(torch.reciprocal),
    "Relu": plain(F.relu),
    "Round": plain(torch.round),
    "Sigmoid": plain(torch.sigmoid),
    "Softplus": plain(F.softplus),
    "Sqrt": plain(torch.sqrt),
    "Sub": plain(torch.sub),
    "Sum": folded(torch.add),
    "Tanh": plain(torch.tanh),
    "Where": plain(torch.where),
}
