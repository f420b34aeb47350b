"""An ONNX graph as a torch module, for any batch: it can be exported again, differentiated and trained."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, fx

from holdfast.importing.errors import EncoderImportError, UnknownOperatorError
from holdfast.importing.graph_builder import BATCHES, FixedValue, GraphBuilder, TracedValue, Value
from holdfast.importing.operators import OPERATORS, Operator

STANDARD = {"", "ai.onnx"}


def to_torch(
    model: ModelProto, output: str, shape: tuple[int, int, int], batch: int | None
) -> tuple[fx.GraphModule, tuple[int, ...]]:
    """The part of `model` that makes `output`, as a module.

    Args:
        model: of one input, with its weights inside.
        output: a value of the graph.
        shape: of one image, as the graph takes it.
        batch: what the graph's batch is fixed to; None where it is free.

    Returns:
        The module, float32 [N, *shape] -> the value, float32; on the CPU, in evaluation mode, frozen. And the
        value's shape for each image.

    Raises:
        UnknownOperatorError: an operator that is not known here.
        EncoderImportError: the graph does something that cannot be served, or there is no such value.

    """
    graph = model.graph
    builder = GraphBuilder(shape, batch)
    values: dict[str, Value] = {tensor.name: _weight(tensor) for tensor in graph.initializer}
    values[next(each.name for each in graph.input if each.name not in values)] = builder.input
    nodes = needed_nodes(graph.node, output)
    uses = Counter(name for node in nodes for name in node.input)
    uses[output] += 1
    opset = next((each.version for each in model.opset_import if each.domain in STANDARD), 1)
    with _quiet():
        for node in nodes:
            _build(node, builder, values, opset)
            uses.subtract(node.input)
            for name in [name for name in node.input if name and not uses[name]]:
                values.pop(name, None)
    result = values.get(output)
    if not isinstance(result, TracedValue):
        raise EncoderImportError(f"the value {output!r} does not depend on the image")
    sizes = tuple(size for size in result.shape[1:] if size is not None)
    if result.shape[:1] != (None,) or len(sizes) != len(result.shape) - 1:
        raise EncoderImportError(f"the value {output!r} has no row for each image: its shape is {_described(result)}")
    return builder.module(result), sizes


@contextmanager
def _quiet() -> Iterator[None]:
    """What cannot be computed is raised, and need not be logged with a traceback as well."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def needed_nodes(nodes: Iterable[NodeProto], output: str) -> list[NodeProto]:
    """The nodes that `output` hangs on, in the order in which they can be computed."""
    wanted, kept = {output}, []
    for node in reversed(list(nodes)):
        if wanted & set(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _weight(tensor: TensorProto) -> FixedValue:
    value = _tensor(tensor)
    return FixedValue((value,) * len(BATCHES), weight=value.ndim > 0)


def _tensor(tensor: TensorProto) -> Tensor:
    array = numpy_helper.to_array(tensor)
    if array.dtype.kind == "f" and array.dtype != np.float32:
        array = array.astype(np.float32)
    return torch.from_numpy(np.array(array))  # a copy, which may be written to


def _build(node: NodeProto, builder: GraphBuilder, values: dict[str, Value], opset: int) -> None:
    known = OPERATORS.get(node.op_type) if node.domain in STANDARD else None
    if known is None:
        raise UnknownOperatorError(node.op_type, node.domain, node.name or node.output[0])
    inputs = tuple(values[name] if name else None for name in node.input)
    outputs = sum(bool(name) for name in node.output)
    operator = Operator(node.op_type, node.name or node.output[0], opset, attributes_of(node), inputs, outputs, builder)
    try:
        results = known(operator)
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError) as error:
        shapes = ", ".join(_described(value) for value in inputs)
        raise operator.fault(f"cannot be computed of {shapes} ({str(error).splitlines()[0]})") from error
    values.update(zip(node.output, results if isinstance(results, tuple) else (results,), strict=False))


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """A node's attributes by name, with text as str and tensors as torch's."""
    found = {}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if isinstance(value, TensorProto):
            value = _tensor(value)
        found[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return found


def _described(value: Value | None) -> str:
    if value is None:
        return "nothing"
    sizes = value.shape if isinstance(value, TracedValue) else value.examples[0].shape
    return "[" + ", ".join("N" if size is None else str(size) for size in sizes) + "]"
