"""A pass over an encoder's ONNX graph that lets a GPU compute its convolutional part in float16.

Convolutions, and what lies between them, take and give float16 (cuDNN sums their products in float32); scaling the pixels, and
pooling, projection and length behind the last maps, stay float32. On the CPU ONNX Runtime has no such operators, and computes
them in float32 with much of the rounding left out. So the same pass can also write what the GPU is expected to compute: float32
operators, with the result of each rounded to float16. The export compares that graph with torch.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from holdfast.errors import HoldfastError

SUFFIX = ".half"
POOLING = frozenset({"ReduceMean", "ReduceSum", "ReduceMax", "GlobalAveragePool", "GlobalMaxPool"})
"""Operators after which there is no map: what follows is cheap, and stays float32."""


class BeyondFloat16Error(HoldfastError):
    """An encoder that float16 cannot compute."""


def in_float16(model: ModelProto, *, emulated: bool = False) -> ModelProto:
    """A copy of an encoder's graph with its convolutional part in float16; inputs and outputs are as before.

    Args:
        model: float32, with its weights inside and not yet halved.
        emulated: float32 operators instead, each result rounded to float16.

    Raises:
        BeyondFloat16Error: a weight of that part is too large for float16.

    """
    twin = ModelProto()
    twin.CopyFrom(model)
    typed = shape_inference.infer_shapes(model).graph
    values = (*typed.value_info, *typed.input, *typed.output)
    floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    rewriting = _Rewriting(twin.graph, floats, emulated=emulated)
    for node, inside in zip(list(twin.graph.node), _convolutional(twin.graph.node), strict=True):
        rewriting.take(node, inside=inside)
    rewriting.finish(twin.graph)
    return twin


def _convolutional(nodes: Sequence[NodeProto]) -> list[bool]:
    """Of each node, whether it is a convolution of maps or lies on a way from one to another.

    Nodes are in an order in which they can be computed.
    """
    makers = {output: index for index, node in enumerate(nodes) for output in node.output}
    before = [{makers[name] for name in node.input if name in makers} for node in nodes]
    pooled: set[int] = set()
    behind: set[int] = set()
    for index, node in enumerate(nodes):
        if node.op_type in POOLING or before[index] & pooled:
            pooled.add(index)
        elif node.op_type == "Conv" or before[index] & behind:
            behind.add(index)
    ahead: set[int] = set()
    for index in reversed(range(len(nodes))):
        if index in ahead or (nodes[index].op_type == "Conv" and index not in pooled):
            ahead |= {index} | before[index]
    return [index in behind and index in ahead for index in range(len(nodes))]


class _Rewriting:
    """One pass from the first node to the last.

    `_halves` and `_floats` name the casts that were written already; `_inside` are the values that are float16.
    """

    def __init__(self, graph: Any, floats: Iterable[str], *, emulated: bool) -> None:
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._float32, self._emulated = set(floats), emulated
        self._nodes: list[NodeProto] = []
        self._rounded: dict[str, TensorProto] = {}
        self._halves: dict[str, str] = {}
        self._floats: dict[str, str] = {}
        self._inside: set[str] = set()

    def take(self, node: NodeProto, *, inside: bool) -> None:
        """Write `node`, and the casts that it needs."""
        if not inside:
            node.input[:] = [self._float(name) if name in self._inside else name for name in node.input]
            self._nodes.append(node)
            return
        node.input[:] = [self._half(name) for name in node.input]
        self._inside.update(node.output)
        self._nodes.append(node)
        if self._emulated:
            outputs = list(node.output)
            node.output[:] = [f"{name}.exact" for name in outputs]
            for exact, name in zip(node.output, outputs, strict=True):
                self._round(exact, name)

    def finish(self, graph: Any) -> None:
        """Put what was written in the place of what was there."""
        used = {name for node in self._nodes for name in node.input}
        weights = [*self._weights.values(), *self._rounded.values()]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self._nodes)
        graph.initializer.extend(tensor for tensor in weights if tensor.name in used)

    def _half(self, name: str) -> str:
        """The float16 form of a value or weight; the name itself for what has none, as the sizes of a padding."""
        if name in self._inside:
            return name
        if name in self._weights:
            return self._half_weight(name)
        if name not in self._float32:
            return name
        if name not in self._halves:
            self._halves[name] = half = f"{name}{SUFFIX}"
            if self._emulated:
                self._round(name, half)
            else:
                self._cast(name, half, TensorProto.FLOAT16)
        return self._halves[name]

    def _half_weight(self, name: str) -> str:
        tensor = self._weights[name]
        if tensor.data_type != TensorProto.FLOAT:
            return name
        half = f"{name}{SUFFIX}"
        with np.errstate(over="ignore"):  # raised below
            values = numpy_helper.to_array(tensor).astype(np.float16)
        if not np.isfinite(values).all():
            raise BeyondFloat16Error(f"{name} holds numbers that float16 cannot")
        self._rounded[half] = numpy_helper.from_array(values.astype(np.float32) if self._emulated else values, half)
        return half

    def _float(self, name: str) -> str:
        """The float32 form of a value that is float16."""
        if self._emulated:
            return name
        if name not in self._floats:
            self._floats[name] = name + ".float32"
            self._cast(name, self._floats[name], TensorProto.FLOAT)
        return self._floats[name]

    def _round(self, name: str, rounded: str) -> None:
        self._cast(name, f"{rounded}.rounding", TensorProto.FLOAT16)
        self._cast(f"{rounded}.rounding", rounded, TensorProto.FLOAT)

    def _cast(self, name: str, output: str, to: int) -> None:
        self._nodes.append(helper.make_node("Cast", [name], [output], f"{output}.cast", to=to))
