"""Operators of maps [N, C, h, w]: convolutions, their norms, pools and borders."""

from collections.abc import Callable
from operator import getitem
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from holdfast.importing.graph_builder import FixedValue, Value
from holdfast.importing.operators.operator import Operator


def convolution(op: Operator) -> Value:
    """Conv, as a layer where its weights are constant."""
    weight, bias = op.fixed(1), op.fixed(2)
    if op.rank() != 4:
        raise op.fault(f"is of {op.rank() - 2} dimensions, and images have two")
    if weight is None or (bias is None and op.optional(2) is not None):
        raise op.fault("computes its weights from the pixels")
    kernel = weight.examples[0]
    value, padding = padded(op, tuple(kernel.shape[2:]), 0.0)
    groups = op.attributes.get("group", 1)
    layer = nn.Conv2d(
        kernel.shape[1] * groups,
        kernel.shape[0],
        (kernel.shape[2], kernel.shape[3]),
        stride=tuple(op.attributes.get("strides", (1, 1))),
        padding=padding,
        dilation=tuple(op.attributes.get("dilations", (1, 1))),
        groups=groups,
        bias=bias is not None,
    )
    with torch.no_grad():
        layer.weight.copy_(kernel)
        if layer.bias is not None and bias is not None:
            layer.bias.copy_(bias.examples[0])
    return op.builder.call_module(layer, value)


def padded(op: Operator, kernel: tuple[int, ...], fill: float) -> tuple[Value, tuple[int, int]]:
    """The input, padded where a layer cannot do it, and what the layer is to pad on both sides of each."""
    (top, left, bottom, right), value = borders(op, kernel), op.value(0)
    if (top, left) == (bottom, right) and (not fill or (top * 2 <= kernel[0] and left * 2 <= kernel[1])):
        return value, (top, left)
    return op.builder.call(F.pad, value, (left, right, top, bottom), value=fill), (0, 0)


def borders(op: Operator, kernel: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Rows and columns that are added at top, left, bottom and right."""
    auto = op.attributes.get("auto_pad", "NOTSET")
    if auto == "NOTSET":
        top, left, bottom, right = op.attributes.get("pads", (0, 0, 0, 0))
        return top, left, bottom, right
    if auto == "VALID":
        return 0, 0, 0, 0
    sides = []
    strides, dilations = op.attributes.get("strides", (1, 1)), op.attributes.get("dilations", (1, 1))
    for size, window, stride, dilation in zip(op.value(0).examples[0].shape[2:], kernel, strides, dilations, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + dilation * (window - 1) + 1 - size)
        less, more = total // 2, total - total // 2
        sides.append((less, more) if auto == "SAME_UPPER" else (more, less))
    return sides[0][0], sides[1][0], sides[0][1], sides[1][1]


def batch_norm(op: Operator) -> Value:
    """BatchNormalization by its running statistics, as a layer."""
    constants = [op.fixed(i) for i in range(1, 5)]
    if op.attributes.get("training_mode", 0) or op.outputs > 1:
        raise op.fault("computes the statistics of the batch; export the model in evaluation mode")
    if op.rank() != 4 or any(each is None for each in constants):
        raise op.fault("is not of maps with constant statistics")
    scale, shift, mean, variance = (each.examples[0] for each in constants if each is not None)
    layer = nn.BatchNorm2d(len(scale), eps=op.attributes.get("epsilon", 1e-5))
    with torch.no_grad():
        for own, given in (
            (layer.weight, scale),
            (layer.bias, shift),
            (layer.running_mean, mean),
            (layer.running_var, variance),
        ):
            if own is not None:
                own.copy_(given)
    return op.builder.call_module(layer, op.value(0))


def max_pool(op: Operator) -> Value:
    """MaxPool."""
    if op.outputs > 1 or op.rank() != 4:
        raise op.fault("is not a pool of maps alone")
    kernel = tuple(op.attributes["kernel_shape"])
    value, padding = padded(op, kernel, float("-inf"))
    strides, dilations = tuple(op.attributes.get("strides", (1, 1))), tuple(op.attributes.get("dilations", (1, 1)))
    ceil = bool(op.attributes.get("ceil_mode", 0))
    return op.builder.call(F.max_pool2d, value, kernel, strides, padding, dilations, ceil_mode=ceil)


def average_pool(op: Operator) -> Value:
    """AveragePool. Where borders do not count, the mean with them is divided by the share of each window inside."""
    kernel, strides = tuple(op.attributes["kernel_shape"]), tuple(op.attributes.get("strides", (1, 1)))
    if op.rank() != 4 or any(each != 1 for each in op.attributes.get("dilations", ())):
        raise op.fault("is not a pool of maps without dilation")
    top, left, bottom, right = borders(op, kernel)
    ceil = bool(op.attributes.get("ceil_mode", 0))
    if not any((top, left, bottom, right)):
        return op.builder.call(F.avg_pool2d, op.value(0), kernel, strides, 0, ceil_mode=ceil)
    if ceil:
        raise op.fault("has borders and rounds sizes up")
    value = op.builder.call(F.pad, op.value(0), (left, right, top, bottom))
    pooled = op.builder.call(F.avg_pool2d, value, kernel, strides)
    if op.attributes.get("count_include_pad", 0):
        return pooled
    inside = F.pad(torch.ones(1, 1, *op.value(0).examples[0].shape[2:]), (left, right, top, bottom))
    share = F.avg_pool2d(inside, kernel, strides)
    return op.builder.call(torch.div, pooled, FixedValue((share, share)))


def over_all(function: Callable[..., Any]) -> Callable[[Operator], Value]:
    """A pool over all of each map."""
    return lambda op: op.builder.call(function, op.value(0), tuple(range(2, op.rank())), keepdim=True)


def pad(op: Operator) -> Value:
    """Pad, by a constant, the border or a mirror."""
    given, axes, rank = op.numbers("pads", 1) or [], op.numbers("axes", 3), op.rank()
    chosen = [axis % rank for axis in axes] if axes else list(range(rank))
    before, after = [0] * rank, [0] * rank
    for place, axis in enumerate(chosen):
        before[axis], after[axis] = given[place], given[len(chosen) + place]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(op.attributes.get("mode", "constant"))
    if mode is None or before[0] or after[0]:
        raise op.fault("pads the batch, or in another way than by a constant, the border or a mirror")
    lengths = [length for axis in reversed(range(rank)) for length in (before[axis], after[axis])]
    while len(lengths) > (2 if mode == "constant" else 4) and not any(lengths[-2:]):
        lengths = lengths[:-2]
    if mode != "constant":
        return op.builder.call(F.pad, op.value(0), lengths, mode=mode)
    return op.builder.call(F.pad, op.value(0), lengths, value=float(op.number("value", 2) or 0.0))


def resize(op: Operator) -> Value:
    """Resize and Upsample of maps, in the ways that torch has too."""
    value, mode = op.value(0), op.attributes.get("mode", "nearest")
    sizes = op.optional(3)
    scales = op.numbers("scales", 1 if op.kind == "Upsample" or op.opset < 11 else 2)
    old = value.examples[0].shape
    target = (
        op.builder.numbers(_last_two(op, sizes))
        if sizes is not None
        else [int(o * s) for o, s in zip(old[2:], (scales or [])[2:], strict=False)]
    )
    places = op.attributes.get("coordinate_transformation_mode", "half_pixel" if op.opset >= 11 else "asymmetric")
    aligned = places == "align_corners"
    fits = mode in {"linear", "cubic"} and places in {"half_pixel", "pytorch_half_pixel", "align_corners"}
    whole = all(new % size == 0 for new, size in zip(target, old[2:], strict=False))
    repeats = mode == "nearest" and whole and not aligned
    if len(old) != 4 or len(target) != 2 or not (fits or repeats) or op.attributes.get("antialias", 0):
        raise op.fault(f"resizes by {mode} with {places}, which torch does not")
    if mode == "nearest":
        return op.builder.call(F.interpolate, value, tuple(target), mode="nearest")
    name = {"linear": "bilinear", "cubic": "bicubic"}[mode]
    return op.builder.call(F.interpolate, value, tuple(target), mode=name, align_corners=aligned)


def _last_two(op: Operator, sizes: Value) -> Value:
    return op.builder.call(getitem, sizes, slice(-2, None))


def instance_norm(op: Operator) -> Value:
    """InstanceNormalization."""
    epsilon = op.attributes.get("epsilon", 1e-5)
    return op.builder.call(F.instance_norm, op.value(0), weight=op.value(1), bias=op.value(2), eps=epsilon)


def group_norm(op: Operator) -> Value:
    """GroupNormalization; up to opset 20 with a scale for each group, then one for each channel."""
    groups, call = op.attributes["num_groups"], op.builder.call
    scale, shift = op.value(1), op.value(2)
    if op.opset < 21:
        each = op.value(0).examples[0].shape[1] // groups
        scale, shift = (call(torch.repeat_interleave, value, each) for value in (scale, shift))
    return call(F.group_norm, op.value(0), groups, scale, shift, op.attributes.get("epsilon", 1e-5))


OPERATORS: dict[str, Callable[[Operator], Value]] = {
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Conv": convolution,
    "GlobalAveragePool": over_all(torch.mean),
    "GlobalMaxPool": over_all(torch.amax),
    "GroupNormalization": group_norm,
    "InstanceNormalization": instance_norm,
    "MaxPool": max_pool,
    "Pad": pad,
    "Resize": resize,
    "Upsample": resize,
}
