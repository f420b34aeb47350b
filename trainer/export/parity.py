"""An encoder's graphs compared with torch, and how far float16 may move an embedding."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from holdfast.bundle.reader import ENCODER, ENCODER_FLOAT16, GRADIENT
from holdfast.errors import HoldfastError
from holdfast.model.encoder.agreement import cosine_distance
from holdfast.model.encoder.onnx import OnnxEncoder, OnnxGradient
from holdfast.model.preprocess import Pixels

Floats = NDArray[np.float32]

TOLERANCE = 1e-4
BATCHES = (1, 4, 33)
# Share of the images whose gradients must agree; see `compare_gradients`.
AGREEING = 0.75

EMULATED = "emulated.onnx"
"""What a GPU is expected to make of encoder_float16.onnx, as a graph of float32; never part of a bundle."""


class ExportError(HoldfastError):
    """An encoder that cannot be written as ONNX graphs."""


class ExportMismatchError(ExportError):
    """A graph that computes something else than the encoder. `difference` is the largest, or the relative one, found."""

    def __init__(self, message: str, difference: float) -> None:
        super().__init__(message)
        self.difference = difference


@dataclass(frozen=True)
class Parity:
    """How far ONNX Runtime and torch lie apart.

    embeddings: the largest absolute difference of any number of any embedding.
    gradients: the relative difference |a - b| / |b| of the median image.
    at_kinks: share of the images whose gradient differs by more than the tolerance, all at kinks of ReLUs.
    float16: the largest cosine distance of an image's embedding in float16; None where there is no graph for it.
    lacking: why there is none, where one was asked for.
    """

    embeddings: float
    gradients: float
    at_kinks: float
    float16: float | None = None
    lacking: str = ""

    def __str__(self) -> str:
        found = f"{ENCODER} is within {self.embeddings:.0e} of torch, {GRADIENT} within {self.gradients:.0e}"
        if self.float16 is not None:
            found += f", {ENCODER_FLOAT16} within a cosine distance of {self.float16:.0e}"
        return found + (f"; there is no {ENCODER_FLOAT16}: {self.lacking}" if self.lacking else "")


def check_parity(reference: nn.Module, folder: Path, samples: dict[str, Pixels]) -> Parity:
    """Compare both graphs in `folder` with torch, on each sample of images and at each batch size.

    reference: the encoder on the CPU in evaluation mode, BatchNorm and all.

    Raises:
        ExportMismatchError: they differ by more than the tolerance.

    """
    encoder, gradient = OnnxEncoder(folder / ENCODER), OnnxGradient(folder / GRADIENT)
    found = []
    for kind, images in samples.items():
        cotangents = np.random.default_rng(1).standard_normal((len(images), encoder.dim), dtype=np.float32)
        embeddings, gradients = _in_torch(reference, images, cotangents)
        pixels = images.astype(np.float32) / np.float32(255)
        for size in BATCHES:
            where = f"on {kind} images in batches of {size}"
            parts = [slice(i, i + size) for i in range(0, len(images), size)]
            ours = np.concatenate([encoder.embed(images[part]) for part in parts])
            largest = _compare_embeddings(ours, embeddings, where)
            ours = np.concatenate([gradient.vjp(pixels[part], cotangents[part]) for part in parts])
            found.append((largest, *compare_gradients(ours, gradients, where)))
    return Parity(*(max(column) for column in zip(*found, strict=True)))


def _in_torch(reference: nn.Module, images: Pixels, cotangents: Floats) -> tuple[Floats, Floats]:
    pixels = (torch.from_numpy(images).float() / 255).requires_grad_()
    embeddings = F.normalize(reference(pixels.permute(0, 3, 1, 2).contiguous()), dim=1)
    (gradients,) = torch.autograd.grad((embeddings * torch.from_numpy(cotangents)).sum(), pixels)
    return embeddings.detach().numpy(), gradients.numpy()


def _compare_embeddings(ours: Floats, expected: Floats, where: str) -> float:
    largest = float(np.abs(ours - expected).max())
    if not largest <= TOLERANCE:  # and not the other way round: NaN is a mismatch too
        raise ExportMismatchError(
            f"{ENCODER} differs from torch by up to {largest:.2e} {where}; {TOLERANCE:.0e} is allowed", largest
        )
    return largest


def compare_gradients(ours: Floats, expected: Floats, where: str) -> tuple[float, float]:
    """Compare vector-Jacobian products float32 [N, H, W, C].

    A unit whose input lies within rounding of a ReLU's kink has two right gradients, and torch and ONNX Runtime may take
    either: a few of a hundred images then differ by percents, and all others by 1e-6. A wrong graph is wrong on all.

    Returns:
        The relative difference of the median image, and the share of images beyond the tolerance.

    Raises:
        ExportMismatchError: too many images lie beyond it.

    """
    difference = np.linalg.norm((ours - expected).reshape(len(ours), -1), axis=1)
    length = np.linalg.norm(expected.reshape(len(ours), -1), axis=1)
    relative: NDArray[Any] = difference / np.maximum(length, np.finfo(np.float32).tiny)
    beyond = float(np.mean(~(relative <= TOLERANCE)))
    if beyond > 1 - AGREEING:
        largest = float(relative.max())
        raise ExportMismatchError(
            f"{GRADIENT} differs from torch on {beyond:.0%} of the images, by up to {largest:.2e} relative, {where}; "
            f"{TOLERANCE:.0e} is allowed",
            largest,
        )
    return float(np.median(relative)), beyond


def float16_distance(reference: nn.Module, folder: Path, samples: dict[str, Pixels]) -> float:
    """The largest cosine distance of an image's embedding to torch's, of encoder_float16.onnx and of its emulation.

    ONNX Runtime leaves out much of the rounding on the CPU, so encoder_float16.onnx shows there that the graph is right, and
    the emulation how far float16 takes it. NaN where a number went beyond what float16 holds.
    """
    found = [0.0]
    for name in (ENCODER_FLOAT16, EMULATED):
        encoder = OnnxEncoder(folder / name)
        for images in samples.values():
            embeddings, ours = _embeddings(reference, images).numpy(), encoder.embed(images)
            found.append(float(cosine_distance(ours, embeddings).max()))
    return float(np.max(found))  # NaN where any is


@torch.no_grad()
def _embeddings(reference: nn.Module, images: Pixels) -> torch.Tensor:
    pixels = torch.from_numpy(images).float() / 255
    return F.normalize(reference(pixels.permute(0, 3, 1, 2).contiguous()), dim=1)
