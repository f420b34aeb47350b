"""Operators that mix numbers along an axis: products with matrices, sums, softmax, layer norm."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.importing.graph_builder import Value
from holdfast.importing.operators.operator import Operator


def product(op: Operator) -> Value:
    """MatMul, as a layer where the right side is a constant matrix."""
    weight = op.fixed(1)
    if weight is None or weight.examples[0].ndim != 2 or op.rank() < 2:
        return op.builder.call(torch.matmul, op.value(0), op.value(1))
    return op.builder.call_module(linear(weight.examples[0].T, None), op.value(0))


def gemm(op: Operator) -> Value:
    """Gemm: alpha A B + beta C, as a layer where B and C are constants."""
    alpha, beta = op.attributes.get("alpha", 1.0), op.attributes.get("beta", 1.0)
    call, value = op.builder.call, op.value(0)
    if op.attributes.get("transA", 0):
        value = call(torch.t, value)
    weight, bias = op.fixed(1), op.fixed(2)
    turned = bool(op.attributes.get("transB", 0))
    constant = weight is not None and (bias is not None or op.optional(2) is None)
    if constant and weight is not None and (bias is None or bias.examples[0].ndim == 1):
        matrix = weight.examples[0] if turned else weight.examples[0].T
        shift = None if bias is None else (bias.examples[0] * beta).expand(len(matrix))
        return op.builder.call_module(linear(matrix * alpha, shift), value)
    right = call(torch.t, op.value(1)) if turned else op.value(1)
    result = call(torch.mul, call(torch.matmul, value, right), alpha)
    added = op.optional(2)
    return result if added is None else call(torch.add, result, call(torch.mul, added, beta))


def linear(matrix: Tensor, bias: Tensor | None) -> nn.Linear:
    """The layer with this matrix float32 [out, in]."""
    layer = nn.Linear(matrix.shape[1], matrix.shape[0], bias=bias is not None)
    with torch.no_grad():
        layer.weight.copy_(matrix)
        if layer.bias is not None and bias is not None:
            layer.bias.copy_(bias)
    return layer


def softmax(function: Callable[..., Any]) -> Callable[[Operator], Value]:
    """Softmax along an axis; up to opset 12 along all axes from there on."""

    def build(op: Operator) -> Value:
        axis, call = op.axis(-1 if op.opset >= 13 else 1), op.builder.call
        if op.opset >= 13 or axis == op.rank() - 1:
            return call(function, op.value(0), axis)
        shape = op.builder.sizes(op.builder.shape(op.value(0)))
        return call(torch.reshape, call(function, call(torch.flatten, op.value(0), axis), axis), shape)

    return build


def layer_norm(op: Operator) -> Value:
    """LayerNormalization over all axes from one on."""
    if op.outputs > 1:
        raise op.fault("hands out its statistics")
    shape = tuple(op.value(0).examples[0].shape[op.axis(-1) :])
    return op.builder.call(F.layer_norm, op.value(0), shape, op.value(1), op.optional(2), op.attributes.get("epsilon", 1e-5))


def reduced(function: Callable[..., Any]) -> Callable[[Operator], Value]:
    """A reduction over axes that are an attribute, or an input."""

    def build(op: Operator) -> Value:
        axes = op.numbers("axes", 1)
        if not axes and op.attributes.get("noop_with_empty_axes", 0):
            return op.value(0)
        chosen = tuple(int(axis) % op.rank() for axis in axes) if axes else tuple(range(op.rank()))
        return op.builder.call(function, op.value(0), chosen, keepdim=bool(op.attributes.get("keepdims", 1)))

    return build


def _length(op: Operator) -> Value:
    squares = op.builder.call(torch.mul, op.value(0), op.value(0))
    summed = reduced(torch.sum)(_with_first(op, squares))
    return op.builder.call(torch.sqrt, summed)


def _squares(op: Operator) -> Value:
    return reduced(torch.sum)(_with_first(op, op.builder.call(torch.mul, op.value(0), op.value(0))))


def _with_first(op: Operator, value: Value) -> Operator:
    return Operator(op.kind, op.name, op.opset, op.attributes, (value, *op.inputs[1:]), op.outputs, op.builder)


def unit_length(op: Operator) -> Value:
    """LpNormalization: to unit length along an axis."""
    return op.builder.call(F.normalize, op.value(0), float(op.attributes.get("p", 2)), op.axis(-1))


def local_response_norm(op: Operator) -> Value:
    """LRN: division by the squares of neighbouring channels."""
    alpha, beta, bias = op.attributes.get("alpha", 1e-4), op.attributes.get("beta", 0.75), op.attributes.get("bias", 1.0)
    return op.builder.call(F.local_response_norm, op.value(0), op.attributes["size"], alpha, beta, bias)


def einsum(op: Operator) -> Value:
    """Einsum."""
    values = [op.value(i) for i in range(len(op.inputs))]
    return op.builder.call(torch.einsum, op.attributes["equation"], *values)


OPERATORS: dict[str, Callable[[Operator], Value]] = {
    "Einsum": einsum,
    "Gemm": gemm,
    "LRN": local_response_norm,
    "LayerNormalization": layer_norm,
    "LogSoftmax": softmax(F.log_softmax),
    "LpNormalization": unit_length,
    "MatMul": product,
    "ReduceL2": _length,
    "ReduceMax": reduced(torch.amax),
    "ReduceMean": reduced(torch.mean),
    "ReduceMin": reduced(torch.amin),
    "ReduceSum": reduced(torch.sum),
    "ReduceSumSquare": _squares,
    "Softmax": softmax(F.softmax),
}
