"""Which weights of a converted graph make up a layer, in the order in which pixels meet them."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import fx, nn

from holdfast.importing.preprocessing import ForeignEncoder

PRODUCTS = (torch.matmul, torch.einsum, F.conv2d, F.linear)


@dataclass(frozen=True)
class WeightLayers:
    """The parameters of a graph by layer.

    Attributes:
        preprocessing: those that pixels meet before the first layer: means and deviations. They are not trained.
        layers: of each convolution or product with a matrix, its parameters and those of norms and shifts behind it.

    """

    preprocessing: tuple[str, ...]
    layers: tuple[tuple[str, ...], ...]

    def names(self, first: int) -> frozenset[str]:
        """The parameters of all layers from `first` on, counted from 0."""
        return frozenset(name for layer in self.layers[first:] for name in layer)

    def __len__(self) -> int:
        return len(self.layers)


def graph_of(encoder: ForeignEncoder) -> fx.GraphModule:
    """The converted graph of an encoder as it was read."""
    graph = encoder.network
    if not isinstance(graph, fx.GraphModule):
        raise TypeError(f"the graph of an encoder is an fx.GraphModule, not {type(graph).__name__}")
    return graph


def layers_of(graph: fx.GraphModule) -> WeightLayers:
    """The parameters of a graph, of one input, by layer."""
    pixels, mixed = _dependent(graph)
    places: dict[str, int] = {}
    layers = 0
    for node in graph.graph.nodes:
        if node not in pixels or node.op == "placeholder":
            continue
        layers += _is_layer(graph, node, pixels)
        for name in _parameters(graph, node, pixels):
            if places.setdefault(name, layers if node in mixed else 0) == 0 and node in mixed:
                places[name] = layers  # preprocessing uses it, and a layer as well
    rows = [[name for name, place in places.items() if place == layer] for layer in range(layers + 1)]
    return WeightLayers(tuple(rows[0]), tuple(tuple(row) for row in rows[1:]))


def _dependent(graph: fx.GraphModule) -> tuple[set[fx.Node], set[fx.Node]]:
    """Nodes that hang on pixels, and those of them that are a layer or behind one."""
    pixels: set[fx.Node] = set()
    mixed: set[fx.Node] = set()
    for node in graph.graph.nodes:
        sizes_alone = node.op == "call_method" and node.target == "size"
        if node.op == "placeholder" or (not sizes_alone and any(each in pixels for each in node.all_input_nodes)):
            pixels.add(node)
            if _is_layer(graph, node, pixels) or any(each in mixed for each in node.all_input_nodes):
                mixed.add(node)
    return pixels, mixed


def _is_layer(graph: fx.GraphModule, node: fx.Node, pixels: set[fx.Node]) -> bool:
    if node.op == "call_module":
        return isinstance(graph.get_submodule(str(node.target)), nn.Conv2d | nn.Linear)
    return node.op == "call_function" and node.target in PRODUCTS and any(True for _ in _parameters(graph, node, pixels))


def _parameters(graph: fx.GraphModule, node: fx.Node, pixels: set[fx.Node]) -> Iterator[str]:
    """The parameters that come in at a node: its own, and those that reach it without having met pixels."""
    if node.op == "call_module":
        yield from (f"{node.target}.{name}" for name, _ in graph.get_submodule(str(node.target)).named_parameters())
    waiting = [each for each in node.all_input_nodes if each not in pixels]
    while waiting:
        each = waiting.pop()
        if each.op == "get_attr" and isinstance(getattr(graph, str(each.target)), nn.Parameter):
            yield str(each.target)
        waiting += each.all_input_nodes
