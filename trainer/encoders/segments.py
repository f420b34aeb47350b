"""Gradient checkpointing of a converted graph: activations within a segment are computed twice instead of kept.

Chen et al. 2016, arXiv 1604.06174. With n segments, what is kept is what passes from one to the next, and the inside of one.
"""

from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils.checkpoint import checkpoint


class SegmentedGraph(nn.Module):
    """A graph of one input that may be run in segments where a gradient is asked for.

    Args:
        graph: what is run.
        segments: how many; below 2 the graph is run as it is.

    """

    def __init__(self, graph: fx.GraphModule, segments: int) -> None:
        super().__init__()
        self.graph, self.segments = graph, segments

    def forward(self, values: Tensor) -> Tensor:
        """As the graph."""
        if self.segments < 2 or not torch.is_grad_enabled():
            found: Tensor = self.graph(values)
            return found
        return self._in_segments(values)

    def _in_segments(self, values: Tensor) -> Tensor:
        start, *nodes = [node for node in self.graph.graph.nodes if node.op != "output"]
        result = self.graph.graph.output_node().args[0]
        bounds = [len(nodes) * number // self.segments for number in range(self.segments + 1)]
        known: dict[Any, Any] = {start: values}
        for first, last in pairwise(bounds):
            part = nodes[first:last]
            inside = set(part)
            sources = dict.fromkeys(source for node in part for source in node.all_input_nodes)
            needed = [each for each in sources if each not in inside]
            left = [node for node in part if node is result or any(user not in inside for user in node.users)]
            run = partial(_run, self.graph, part, needed, left)
            found = checkpoint(run, *(known[each] for each in needed), use_reentrant=False, preserve_rng_state=False)
            known.update(zip(left, found, strict=True))
            known = {node: value for node, value in known.items() if _is_used(node, nodes[last:], result)}
        output: Tensor = known[result]
        return output


def _is_used(node: fx.Node, later: list[fx.Node], result: Any) -> bool:
    return node is result or any(user in set(later) for user in node.users)


def _run(graph: fx.GraphModule, part: list[fx.Node], needed: list[fx.Node], left: list[fx.Node], *values: Any) -> list[Any]:
    interpreter = fx.Interpreter(graph)
    interpreter.env = dict(zip(needed, values, strict=True))
    for node in part:
        interpreter.env[node] = interpreter.run_node(node)
    return [interpreter.env[node] for node in left]
