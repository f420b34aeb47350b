"""Building a torch.fx graph operator by operator, with examples of two batch sizes carried along.

The examples tell what depends on the batch: a dimension that differs between them does, and nothing else. So all arithmetic on
shapes, of which exported transformers are full, is done here once: what is left of it are numbers and multiples of the batch.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from holdfast.importing.errors import EncoderImportError

BATCHES = (2, 3)
"""Of the examples. Two points tell a line, and sizes are linear in the batch."""


@dataclass(frozen=True, eq=False)
class FixedValue:
    """A value that does not hang on the pixels. It may hang on the batch's size: one tensor for each of `BATCHES`."""

    examples: tuple[Tensor, ...]
    weight: bool = False

    @property
    def constant(self) -> bool:
        """Whether it is the same at every batch size."""
        first, *others = self.examples
        return all(each is first or (each.shape == first.shape and torch.equal(each, first)) for each in others)


@dataclass(frozen=True, eq=False)
class TracedValue:
    """A value that hangs on the pixels, or a size that hangs on the batch: a node, and a tensor or number per batch size."""

    node: fx.Node
    examples: tuple[Any, ...]

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Of the tensor; None for a dimension that grows with the batch."""
        shapes = [each.shape for each in self.examples]
        return tuple(sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*shapes, strict=True))

    def shape_at(self, batch: int) -> list[int]:
        """The tensor's shape at another batch size."""
        return [along(sizes, batch) for sizes in zip(*(each.shape for each in self.examples), strict=True)]


Value: TypeAlias = FixedValue | TracedValue


def along(sizes: Sequence[int], batch: int) -> int:
    """The value at `batch` of the line through what it is at each of `BATCHES`."""
    slope = (sizes[1] - sizes[0]) // (BATCHES[1] - BATCHES[0])
    return int(sizes[0] + slope * (batch - BATCHES[0]))


class GraphBuilder:
    """Builds one module from its input on.

    Args:
        shape: of one input.
        source_batch: the batch that the source is fixed to; None where it takes any.

    """

    def __init__(self, shape: Sequence[int], source_batch: int | None) -> None:
        self.source_batch = source_batch
        # Examples of traced values have shapes and no numbers, so nothing is computed.
        self._shapes = FakeTensorMode(allow_non_fake_inputs=True)
        examples = tuple(self._shapes.from_tensor(torch.zeros(batch, *shape)) for batch in BATCHES)
        self._root = nn.Module()
        self._graph = fx.Graph()
        self.input = TracedValue(self._graph.placeholder("pixels"), examples)
        self._batch = TracedValue(self._graph.call_method("size", (self.input.node, 0)), BATCHES)
        self._kept: dict[FixedValue, TracedValue] = {}
        self._count = 0

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Value:
        """Apply a torch function to values and plain arguments; values may lie in lists of arguments."""
        if not any(isinstance(each, TracedValue) for each in _flat((*arguments, *options.values()))):
            return self._computed(function, arguments, options)
        arguments = tuple(self._graphed(each) for each in arguments)
        options = {name: self._graphed(each) for name, each in options.items()}
        # A method that is taken from its class refuses what stands for a tensor while a module is traced.
        name = getattr(function, "__name__", "")
        method = getattr(Tensor, name, None) is function
        made = partial(self._graph.call_method, name) if method else partial(self._graph.call_function, function)
        return self._with_examples(made(_nodes(arguments), _nodes(options)), function, arguments, options)

    def call_module(self, module: nn.Module, value: Value) -> Value:
        """Apply a layer with weights of its own."""
        module = module.eval().requires_grad_(requires_grad=False)
        if isinstance(value, FixedValue):
            return self._computed(module, (value,), {})
        name = self._named(type(module).__name__.lower())
        self._root.add_module(name, module)
        return self._with_examples(self._graph.call_module(name, (value.node,)), module, (value,), {})

    def size(self, sizes: Sequence[int]) -> int | TracedValue:
        """A size that is `sizes` at `BATCHES`: a number, or a multiple of the batch and a number."""
        if len(set(sizes)) == 1:
            return int(sizes[0])
        slope, rest = along(sizes, 1) - along(sizes, 0), along(sizes, 0)
        node = self._batch.node
        for function, number, neutral in ((operator.mul, slope, 1), (operator.add, rest, 0)):
            node = node if number == neutral else self._graph.call_function(function, (node, number))
        return TracedValue(node, tuple(sizes))

    def sizes(self, value: Value) -> list[int | TracedValue]:
        """The numbers of a vector of whole numbers, as an operator's argument."""
        if isinstance(value, TracedValue):
            raise EncoderImportError("the graph computes a shape from the pixels, which cannot be served in batches")
        columns = zip(*(each.reshape(-1).tolist() for each in value.examples), strict=True)
        return [self.size([int(each) for each in column]) for column in columns]

    @staticmethod
    def shape(value: Value) -> FixedValue:
        """The shape of a value, int64 [rank] at each batch size."""
        return FixedValue(tuple(torch.tensor(each.shape, dtype=torch.int64) for each in value.examples))

    def numbers(self, value: Value) -> list[Any]:
        """The numbers of a vector that is the same at every batch size."""
        if isinstance(value, TracedValue) or not value.constant:
            raise EncoderImportError("the graph computes from pixels or batch what has to be a constant to be served")
        return value.examples[0].reshape(-1).tolist()

    def module(self, output: Value) -> fx.GraphModule:
        """The module, whose result is `output`."""
        self._graph.output(self._graphed(output).node)
        built = fx.GraphModule(self._root, self._graph)
        built.graph.eliminate_dead_code()
        built.delete_all_unused_submodules()
        built.recompile()
        return built.eval()

    def grown(self, value: FixedValue, axis: int) -> TracedValue:
        """A fixed value of one row along `axis`, repeated to as many as the batch has."""
        row = self._graphed(FixedValue((value.examples[0].narrow(axis, 0, 1).contiguous(),) * len(BATCHES), value.weight))
        shape: list[Any] = [-1] * value.examples[0].ndim
        shape[axis] = self._batch
        grown = self.call(Tensor.expand, row, shape)
        assert isinstance(grown, TracedValue)  # noqa: S101 - it hangs on the batch
        return grown

    def _computed(self, function: Callable[..., Any], arguments: Any, options: Any) -> Value:
        results = [function(*_at(arguments, i), **_at(options, i)) for i in range(len(BATCHES))]
        return FixedValue(tuple(results))

    def _with_examples(self, node: fx.Node, function: Callable[..., Any], arguments: Any, options: Any) -> TracedValue:
        with torch.no_grad(), self._shapes:
            results = tuple(function(*_at(arguments, i), **_at(options, i)) for i in range(len(BATCHES)))
        return TracedValue(node, results)

    def _graphed(self, value: Any) -> Any:
        """An argument whose fixed values are the module's own tensors, or numbers."""
        if isinstance(value, list | tuple):
            return type(value)(self._graphed(each) for each in value)
        if not isinstance(value, FixedValue):
            return value
        if value not in self._kept:
            self._kept[value] = self._stored(value)
        return self._kept[value]

    def _stored(self, value: FixedValue) -> TracedValue:
        first, last = value.examples[0], value.examples[-1]
        if not value.constant:
            differing = [axis for axis, (a, b) in enumerate(zip(first.shape, last.shape, strict=True)) if a != b]
            if len(differing) != 1 or not torch.equal(last, last.narrow(differing[0], 0, 1).expand_as(last)):
                raise EncoderImportError("the graph makes numbers of the size of the batch, so images would change each other")
            return self.grown(value, differing[0])
        name = self._named("weight" if value.weight else "constant")
        if value.weight and first.is_floating_point():
            self._root.register_parameter(name, nn.Parameter(first, requires_grad=False))
        else:
            self._root.register_buffer(name, first)
        return TracedValue(self._graph.get_attr(name), value.examples)

    def _named(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"


def _flat(values: Sequence[Any]) -> list[Any]:
    return [part for each in values for part in (_flat(each) if isinstance(each, list | tuple) else [each])]


def _at(values: Any, index: int) -> Any:
    """Arguments with each value replaced by its example."""
    if isinstance(values, dict):
        return {name: _at(each, index) for name, each in values.items()}
    if isinstance(values, list | tuple):
        return type(values)(_at(each, index) for each in values)
    return values.examples[index] if isinstance(values, FixedValue | TracedValue) else values


def _nodes(values: Any) -> Any:
    """Arguments with each value replaced by its node."""
    if isinstance(values, dict):
        return {name: _nodes(each) for name, each in values.items()}
    if isinstance(values, list | tuple):
        return type(values)(_nodes(each) for each in values)
    return values.node if isinstance(values, TracedValue) else values
