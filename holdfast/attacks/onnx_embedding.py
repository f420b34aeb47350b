"""A bundle's graphs as one differentiable torch function, so that what is attacked is what is served."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from holdfast.attacks.quantise import to_images
from holdfast.bundle.reader import Bundle


class OnnxEmbedding:
    """Pixels float [N, 3, H, W] in [0, 1] -> embeddings [N, D], by encoder.onnx; backwards by gradient.onnx.

    The encoder as served takes uint8, so pixels are rounded to grey levels on the way in and both passes look at the
    rounded image; on the way back the rounding counts as the identity (straight-through). An attack through this
    function cannot profit from pixel values that no image has.
    """

    def __init__(self, bundle: Bundle) -> None:
        """Take the graphs of an open `bundle`.

        Raises:
            MissingFileError: the bundle has no gradient.onnx.

        """
        self._encoder, self._gradient = bundle.encoder, bundle.gradient

    def __call__(self, pixels: Tensor) -> Tensor:
        """Embed on the CPU; the result lies where `pixels` do. Shape: [N, 3, H, W] -> [N, D], L2-normalised."""
        embeddings: Tensor = _Graphs.apply(pixels, self._encoder, self._gradient)  # type: ignore[no-untyped-call]
        return embeddings


class _Graphs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pixels: Tensor, encoder: Any, gradient: Any) -> Tensor:
        images = to_images(pixels)
        ctx.images, ctx.gradient = images, gradient
        return torch.from_numpy(encoder.embed(images)).to(pixels.device)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, None, None]:
        (cotangent,) = cotangents
        pixels = ctx.images.astype(np.float32) / np.float32(255)
        gradients = ctx.gradient.vjp(pixels, cotangent.float().cpu().numpy())
        return torch.from_numpy(gradients).permute(0, 3, 1, 2).to(cotangent.device), None, None
