"""Operators that move numbers and compute none: shapes, slices, joins; and the arithmetic of shapes."""

from collections.abc import Callable, Sequence
from math import prod
from operator import getitem
from typing import Any

import torch
from torch import Tensor

from holdfast.importing.graph_builder import BATCHES, FixedValue, TracedValue, Value
from holdfast.importing.operators.operator import Operator

MOST_GATHERED = 64
"""Rows that are picked out of a value one by one."""


def constant(op: Operator) -> Value:
    """Constant, of whichever attribute."""
    ((kind, given),) = op.attributes.items()
    tensor = given if kind == "value" else torch.tensor(given)
    if tensor.is_floating_point():
        tensor = tensor.float()
    return FixedValue((tensor,) * len(BATCHES))


def shape(op: Operator) -> Value:
    """Shape, or a part of it."""
    whole = op.builder.shape(op.value(0))
    start, end = op.attributes.get("start", 0), op.attributes.get("end")
    return op.builder.call(getitem, whole, slice(start, end))


def size(op: Operator) -> Value:
    """Size: of how many numbers a value is."""
    return FixedValue(tuple(torch.tensor(each.numel()) for each in op.value(0).examples))


def filled(op: Operator) -> Value:
    """ConstantOfShape."""
    value = op.attributes.get("value", torch.zeros(1))
    return op.builder.call(lambda sizes: torch.full(sizes.tolist(), value.item(), dtype=value.dtype), op.value(0))


def counted(op: Operator) -> Value:
    """Range."""
    bounds = [op.value(i) for i in range(3)]
    return op.builder.call(lambda *each: torch.arange(*(number.item() for number in each), dtype=each[0].dtype), *bounds)


def reshape(op: Operator) -> Value:
    """Reshape. What a source of a fixed batch writes as a number becomes a multiple of the batch."""
    value, wanted = op.value(0), op.value(1)
    zeros = not op.attributes.get("allowzero", 0)
    if isinstance(value, FixedValue):
        return op.builder.call(
            lambda each, sizes: each.reshape(_resolved(each.shape, sizes.tolist(), zeros=zeros)), value, wanted
        )
    if isinstance(wanted, FixedValue) and wanted.constant and (batch := op.builder.source_batch) is not None:
        return op.builder.call(torch.reshape, value, freed(op, value, wanted.examples[0].tolist(), batch, zeros=zeros))
    sizes = op.builder.sizes(wanted)
    own = op.builder.sizes(op.builder.shape(value))
    return op.builder.call(torch.reshape, value, [own[i] if each == 0 and zeros else each for i, each in enumerate(sizes)])


def freed(op: Operator, value: TracedValue, wanted: Sequence[int], batch: int, *, zeros: bool) -> list[int | TracedValue]:
    """The sizes of a reshaped value for any batch, of those for `batch` images.

    The batch stays where it was in the order of the numbers: it goes to the axis before which lie as many numbers as before.
    """
    before = value.shape_at(batch)
    sizes = _resolved(before, wanted, zeros=zeros)
    grows = [axis for axis, length in enumerate(value.shape) if length is None]
    if not grows:
        return list(sizes)
    ahead = prod(before[: grows[0]])
    for axis, length in enumerate(sizes):
        if prod(sizes[:axis]) == ahead and length % batch == 0:
            grown = op.builder.size([length // batch * each for each in BATCHES])
            return [*sizes[:axis], grown, *sizes[axis + 1 :]]
    raise op.fault(f"mixes the images of a batch of {batch}, to which the model is fixed; export it with a dynamic batch")


def _resolved(own: Sequence[int], wanted: Sequence[int], *, zeros: bool) -> list[int]:
    sizes = [own[i] if each == 0 and zeros else each for i, each in enumerate(wanted)]
    rest = prod(each for each in sizes if each != -1)
    return [prod(own) // max(1, rest) if each == -1 else each for each in sizes]


def flatten(op: Operator) -> Value:
    """Flatten to a matrix."""
    axis = int(op.attributes.get("axis", 1)) % (op.rank() + 1)
    if axis == 1:
        return op.builder.call(torch.flatten, op.value(0), 1)
    own = [each.shape for each in op.value(0).examples]
    sizes = [[prod(part[:axis]) for part in own], [prod(part[axis:]) for part in own]]
    return op.builder.call(torch.reshape, op.value(0), [op.builder.size(each) for each in sizes])


def transpose(op: Operator) -> Value:
    """Transpose."""
    order = op.attributes.get("perm") or list(reversed(range(op.rank())))
    return op.builder.call(torch.permute, op.value(0), tuple(order))


def squeeze(op: Operator) -> Value:
    """Squeeze. The batch stays, even where a source of one image drops it."""
    value, axes = op.value(0), op.numbers("axes", 1)
    sizes = value.shape if isinstance(value, TracedValue) else value.examples[0].shape
    if axes is None:
        axes = [axis for axis, length in enumerate(sizes) if length == 1]
    axes = [int(axis) % len(sizes) for axis in axes]
    if any(sizes[axis] is None for axis in axes):
        raise op.fault("drops the axis of the batch; export the model with a dynamic batch")
    return op.builder.call(torch.squeeze, value, tuple(axes))


def unsqueeze(op: Operator) -> Value:
    """Unsqueeze."""
    value = op.value(0)
    axes = op.numbers("axes", 1) or []
    rank = op.rank() + len(axes)
    for axis in sorted(int(axis) % rank for axis in axes):
        value = op.builder.call(torch.unsqueeze, value, axis)
    return value


def concat(op: Operator) -> Value:
    """Concat. What a source of a fixed batch joins to each image is repeated for each."""
    values = [op.value(i) for i in range(len(op.inputs))]
    axis = op.axis(0)
    growing = {i for value in values if isinstance(value, TracedValue) for i, each in enumerate(value.shape) if each is None}
    for place in growing - {axis}:
        values = [_repeated(op, value, place) for value in values]
    return op.builder.call(torch.cat, values, axis)


def _repeated(op: Operator, value: Value, axis: int) -> Value:
    sizes = value.examples[0].shape
    if isinstance(value, FixedValue) and value.constant and sizes[axis] == (op.builder.source_batch or 1):
        return op.builder.grown(value, axis)
    return value


def split(op: Operator) -> tuple[Value, ...]:
    """Split."""
    axis, length = op.axis(0), op.value(0).examples[0].shape[op.axis(0)]
    parts = op.attributes.get("num_outputs", op.outputs)
    each = -(-length // parts)
    sizes = op.numbers("split", 1) or [min(each, length - start) for start in range(0, length, each)]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return tuple(op.builder.call(torch.narrow, op.value(0), axis, a, n) for a, n in zip(starts, sizes, strict=True))


def sliced(op: Operator) -> Value:
    """Slice. Backwards it takes whole axes only."""
    value, rank = op.value(0), op.rank()
    starts, ends = op.numbers("starts", 1) or [], op.numbers("ends", 2) or []
    axes = [int(axis) % rank for axis in op.numbers("axes", 3) or range(len(starts))]
    steps = op.numbers("steps", 4) or [1] * len(axes)
    sizes = value.shape if isinstance(value, TracedValue) else value.examples[0].shape
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        value = _part(op, value, axis, sizes[axis], slice(int(start), int(end), int(step)))
    return value


def _part(op: Operator, value: Value, axis: int, length: int | None, wanted: slice) -> Value:
    if length is None:
        if wanted.start != 0 or wanted.stop < 2**31 - 1 or wanted.step != 1:
            raise op.fault("takes a part of the batch")
        return value
    start, end, step = wanted.indices(length)
    if (start, end, step) == (0, length, 1):
        return value
    if step > 0:
        return op.builder.call(getitem, value, (*[slice(None)] * axis, slice(start, end, step)))
    if (start, end, step) != (length - 1, -1, -1):
        raise op.fault("takes a part of an axis backwards")
    return op.builder.call(torch.flip, value, (axis,))


def gather(op: Operator) -> Value:
    """Gather of rows whose numbers are constant."""
    value, chosen, axis = op.value(0), op.value(1), op.axis(0)
    if isinstance(value, FixedValue) and isinstance(chosen, FixedValue):
        return op.builder.call(_picked, value, chosen, axis=axis)
    rows = [int(row) for row in op.builder.numbers(chosen)]
    length = value.examples[0].shape[axis]
    if isinstance(value, TracedValue) and value.shape[axis] is None:
        raise op.fault("picks images out of the batch")
    rows = [row % length for row in rows]
    if not chosen.examples[0].ndim:
        return op.builder.call(torch.select, value, axis, rows[0])
    if rows == list(range(rows[0], rows[0] + len(rows))):
        return op.builder.call(torch.narrow, value, axis, rows[0], len(rows))
    if chosen.examples[0].ndim > 1 or len(rows) > MOST_GATHERED:
        raise op.fault(f"picks {len(rows)} rows out of the order that they lie in")
    return op.builder.call(torch.cat, [op.builder.call(torch.narrow, value, axis, row, 1) for row in rows], axis)


def _picked(value: Tensor, chosen: Tensor, axis: int) -> Tensor:
    rows = chosen.reshape(-1).long() % value.shape[axis]
    return value.index_select(axis, rows).reshape([*value.shape[:axis], *chosen.shape, *value.shape[axis + 1 :]])


def expand(op: Operator) -> Value:
    """Expand: to the broadcast of a value and a shape."""
    value, wanted = op.value(0), op.value(1)
    if isinstance(value, FixedValue):
        return op.builder.call(_broadcast, value, wanted)
    sizes: list[Any] = op.builder.sizes(wanted)
    own = [None] * max(0, len(sizes) - len(value.shape)) + list(value.shape)
    sizes = [1] * (len(own) - len(sizes)) + sizes
    kept = len(own) - len(value.shape)
    sizes = [-1 if place >= kept and isinstance(each, int) and each == 1 else each for place, each in enumerate(sizes)]
    return op.builder.call(Tensor.expand, value, sizes)


def _broadcast(value: Tensor, sizes: Tensor) -> Tensor:
    return torch.add(value, torch.zeros(sizes.tolist(), dtype=value.dtype))


def tile(op: Operator) -> Value:
    """Tile."""
    if not op.traced():
        return op.builder.call(lambda each, times: each.repeat(times.tolist()), op.value(0), op.value(1))
    return op.builder.call(Tensor.repeat, op.value(0), op.builder.sizes(op.value(1)))


OPERATORS: dict[str, Callable[[Operator], Value | tuple[Value, ...]]] = {
    "Concat": concat,
    "Constant": constant,
    "ConstantOfShape": filled,
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "Range": counted,
    "Reshape": reshape,
    "Shape": shape,
    "Size": size,
    "Slice": sliced,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
