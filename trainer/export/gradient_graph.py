"""The encoder as two exportable functions: images -> embeddings, and its vector-Jacobian product.

ONNX Runtime's inference build computes no gradients, and the server has no torch. So the gradient is traced here, once, as
an ordinary forward graph of standard operators:

    vjp(x, v) = d <z(x), v> / dx,        z(x) = f(x) / |f(x)|

With it any loss on embeddings is a few lines of numpy for v = dloss/dz, and one run of this graph gives dloss/dx.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch._decomp import core_aten_decompositions
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.nn.utils.fusion import fuse_conv_bn_eval

aten = torch.ops.aten


class Untraceable(Exception):  # noqa: N818 - a condition of the encoder, not of the program
    """An encoder that uses a layer whose gradient is not traced here."""


class ServedEncoder(nn.Module):
    """What `encoder.onnx` computes: uint8 [N, H, W, 3] -> float32 [N, D] of unit length."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        """Uint8 [N, H, W, 3] -> float32 [N, D] of unit length."""
        return self.embed(images.to(torch.float32) / 255)

    def embed(self, pixels: Tensor) -> Tensor:
        """Float32 [N, H, W, 3] in [0, 1] -> [N, D] of unit length."""
        # Contiguous, or torch would carry on in channels-last order, which it traces with strides ONNX does not have.
        embeddings: Tensor = self.encoder(pixels.permute(0, 3, 1, 2).contiguous())
        # As F.normalize, which stops at a length of 1e-12, but without a branch to be traced at the origin.
        return embeddings * torch.rsqrt(embeddings.square().sum(dim=1, keepdim=True) + 1e-24)


class GradientOfServed(nn.Module):
    """What `gradient.onnx` computes, by torch's own autograd: the reference for the exported graph."""

    def __init__(self, served: ServedEncoder) -> None:
        super().__init__()
        self.served = served

    def forward(self, pixels: Tensor, cotangents: Tensor) -> Tensor:
        """Float32 [N, H, W, 3] in [0, 1], float32 [N, D] -> float32 [N, H, W, 3]."""
        # Not torch.func.grad: it keeps itself differentiable, at the price of more operators, some without an ONNX form.
        with torch.enable_grad():
            leaf = pixels.detach().requires_grad_()
            along = (self.served.embed(leaf) * cotangents).sum()
            return torch.autograd.grad(along, leaf)[0]


def prepare(encoder: nn.Module, *, fold: bool = True) -> ServedEncoder:
    """Copy an encoder for export: on the CPU, float32, evaluation mode, frozen, without a BatchNorm.

    A BatchNorm behind a convolution becomes part of it, but not without `fold`, which leaves weights as they are; any other
    becomes one multiplication and one addition.
    The encoder must be traceable by torch.fx: no branch may hang on the values of a tensor.
    """
    twin = copy.deepcopy(encoder).cpu().float().eval().requires_grad_(requires_grad=False)
    graph = fx.symbolic_trace(twin)
    layers = dict(graph.named_modules())
    for node in graph.graph.nodes:
        norm = layers.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        before = node.args[0]
        conv = layers.get(str(before.target)) if before.op == "call_module" else None
        if fold and isinstance(conv, nn.Conv2d) and len(before.users) == 1 and _called_once(graph, before.target):
            graph.set_submodule(before.target, fuse_conv_bn_eval(conv, norm))
            graph.set_submodule(node.target, nn.Identity())
        else:
            graph.set_submodule(node.target, ScaleAndShift(norm))
    return ServedEncoder(graph.requires_grad_(requires_grad=False)).eval()


class ScaleAndShift(nn.Module):
    """A BatchNorm in evaluation mode: maps * scale + shift, per channel."""

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        if norm.running_mean is None or norm.running_var is None:
            raise Untraceable("a BatchNorm without running statistics cannot be served: its answer hangs on the batch")
        scale = torch.rsqrt(norm.running_var + norm.eps) * (norm.weight if norm.affine else 1)
        shift = (norm.bias if norm.affine else 0) - norm.running_mean * scale
        self.register_buffer("scale", scale.detach().reshape(1, -1, 1, 1))
        self.register_buffer("shift", shift.detach().reshape(1, -1, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """Float [N, C, h, w] -> the same shape."""
        return maps * self.scale + self.shift


def trace_gradient(served: ServedEncoder, shape: tuple[int, int, int], dim: int) -> fx.GraphModule:
    """Trace the vector-Jacobian product into a graph of forward operators with a dynamic batch.

    Args:
        served: from `prepare`.
        shape: (height, width, channels) of an image.
        dim: embedding dimension D.

    Returns:
        (pixels float32 [N, H, W, C], cotangents float32 [N, D]) -> gradients float32 [N, H, W, C].

    """
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)

    def fake(*fixed: int) -> Tensor:
        sizes = [DimDynamic.DYNAMIC] + [DimDynamic.STATIC] * len(fixed)
        # Any example batch but 0 and 1, which torch would take for constants.
        return mode.from_tensor(torch.zeros(3, *fixed), symbolic_context=StatelessSymbolicContext(dynamic_sizes=sizes))

    table: dict[Any, Callable[..., Any]] = {**core_aten_decompositions(), **DECOMPOSITIONS}
    table.pop(aten.upsample_nearest2d.default, None)
    trace = make_fx(GradientOfServed(served), decomposition_table=table, tracing_mode="symbolic")
    traced = trace(fake(*shape), fake(dim))
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


def _called_once(graph: fx.GraphModule, target: str) -> bool:
    calls = sum(node.op == "call_module" and node.target == target for node in graph.graph.nodes)
    return bool(calls == 1)


def _convolution_backward(  # noqa: PLR0917 - the operator's signature
    gradient: Tensor,
    maps: Tensor,
    weight: Tensor,
    _bias_sizes: object,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    _output_padding: list[int],
    groups: int,
    _wanted: list[bool],
) -> tuple[Tensor | None, ...]:
    """Gradient of a convolution with respect to its maps: the transposed convolution. None for weight and bias."""
    if transposed:
        raise Untraceable("the gradient of a transposed convolution is not traced")
    sides = list(zip(maps.shape[2:], gradient.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True))
    # Pixels at the far border that the stride never reached.
    missing = [m - ((g - 1) * s - 2 * p + d * (w - 1) + 1) for m, g, w, s, p, d in sides]
    flipped = [d * (w - 1) - p for _, _, w, _, p, d in sides]
    if stride == [1, 1] and groups == 1 and min(flipped) >= 0:
        # The same numbers from an ordinary convolution, which ONNX Runtime runs about twice as fast.
        turned = weight.flip(2, 3).transpose(0, 1).contiguous()
        return aten.convolution(gradient, turned, None, [1, 1], flipped, dilation, False, [0, 0], 1), None, None
    found = aten.convolution(gradient, weight, None, stride, padding, dilation, True, missing, groups)
    return found, None, None


def _avg_pool2d_backward(  # noqa: PLR0917 - the operator's signature
    gradient: Tensor,
    maps: Tensor,
    window: list[int],
    stride: list[int],
    padding: list[int],
    ceil_mode: bool,
    _count_include_pad: bool,
    divisor: int | None,
) -> Tensor:
    """Gradient of an average pool.

    A pool whose window is a multiple of its stride is one over tiles of the stride followed by one of stride 1. Backwards, the
    second is the same pool over the padded gradient, and the first repeats each value over its tile. Any other spreads each
    value evenly over its window.
    """
    down, across = stride or window
    high, remainder_high = divmod(window[0], down)
    wide, remainder_wide = divmod(window[1], across)
    if any(padding) or ceil_mode or divisor is not None:
        raise Untraceable("of average pools, only those without padding and of whole windows are traced")
    if remainder_high or remainder_wide:
        shares = gradient.unsqueeze(2).expand(-1, -1, window[0] * window[1], -1, -1) / (window[0] * window[1])
        return _put_back(shares, maps, window, [down, across], [0, 0], [1, 1])
    if (high, wide) != (1, 1):
        gradient = F.avg_pool2d(F.pad(gradient, (wide - 1, wide - 1, high - 1, high - 1)), (high, wide), 1)
    if (down, across) != (1, 1):
        sides = [gradient.shape[2] * down, gradient.shape[3] * across]
        gradient = aten.upsample_nearest2d(gradient / (down * across), sides)
    # Rows and columns at the far border that no window reached.
    return F.pad(gradient, (0, maps.shape[3] - gradient.shape[3], 0, maps.shape[2] - gradient.shape[2]))


def _max_pool_backward(  # noqa: PLR0917 - the operator's signature
    gradient: Tensor,
    maps: Tensor,
    window: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    ceil_mode: bool,
    indices: Tensor,
) -> Tensor:
    """Gradient of a max pool: each value goes to where in its window the largest number was."""
    if ceil_mode:
        raise Untraceable("of max pools, only those of whole windows are traced")
    strides, (high, wide) = stride or window, gradient.shape[2:]
    places = []
    for row in range(window[0]):
        down = torch.arange(high, device=maps.device) * strides[0] + (row * dilation[0] - padding[0])
        for column in range(window[1]):
            across = torch.arange(wide, device=maps.device) * strides[1] + (column * dilation[1] - padding[1])
            places.append(down[:, None] * maps.shape[3] + across)
    chosen = (indices.unsqueeze(2) == torch.stack(places)).to(gradient.dtype)
    return _put_back(gradient.unsqueeze(2) * chosen, maps, window, list(strides), padding, dilation)


def _put_back(  # noqa: PLR0917 - as those of a convolution
    parts: Tensor, maps: Tensor, window: list[int], stride: list[int], padding: list[int], dilation: list[int]
) -> Tensor:
    """Sum what goes to each place of each window [N, C, windows' size, h, w] into maps of the shape of `maps`."""
    size, (channels, tall, broad), (high, wide) = window[0] * window[1], maps.shape[1:], parts.shape[3:]
    sides = zip((tall, broad), (high, wide), window, stride, padding, dilation, strict=True)
    missing = [m - ((g - 1) * s - 2 * p + d * (w - 1) + 1) for m, g, w, s, p, d in sides]
    places = torch.eye(size, device=maps.device, dtype=parts.dtype).reshape(size, 1, window[0], window[1])
    each = parts.reshape(-1, size, high, wide)
    found: Tensor = aten.convolution(each, places, None, stride, padding, dilation, True, missing, 1)
    return found.reshape(-1, channels, tall, broad)


def _slice_backward(gradient: Tensor, sizes: list[int], dim: int, start: int, _end: int, step: int) -> Tensor:
    """Gradient of a slice: zeros around it."""
    if step != 1:
        raise Untraceable("the gradient of every n-th row is not traced")
    dim, length = dim % len(sizes), sizes[dim]
    start = min(max(0, start + length if start < 0 else start), length)
    after = length - start - gradient.shape[dim]
    return F.pad(gradient, (0, 0) * (len(sizes) - 1 - dim) + (start, after))


def _select_backward(gradient: Tensor, sizes: list[int], dim: int, index: int) -> Tensor:
    """Gradient of one row of an axis: zeros around it."""
    dim = dim % len(sizes)
    return _slice_backward(gradient.unsqueeze(dim), sizes, dim, index % sizes[dim], 0, 1)


def _threshold_backward(gradient: Tensor, activation: Tensor, threshold: float) -> Tensor:
    """Gradient of ReLU. A product with a mask: ONNX Runtime's Where takes as long as a small convolution."""
    return gradient * (activation > threshold).to(gradient.dtype)


def _silu_backward(gradient: Tensor, maps: Tensor) -> Tensor:
    """Gradient of SiLU; torch's own decomposition asks for a memory layout, which ONNX does not have."""
    gate = torch.sigmoid(maps)
    return gradient * gate * (1 + maps * (1 - gate))


DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    aten.convolution_backward.default: _convolution_backward,
    aten.avg_pool2d_backward.default: _avg_pool2d_backward,
    aten.max_pool2d_with_indices_backward.default: _max_pool_backward,
    aten.select_backward.default: _select_backward,
    aten.silu_backward.default: _silu_backward,
    aten.slice_backward.default: _slice_backward,
    aten.threshold_backward.default: _threshold_backward,
}
