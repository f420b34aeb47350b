"""An encoder's graphs compared with torch, and how far float16 may move an embedding."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, partial
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
# How many times as far as torch's float32 a gradient may be from float64's, and how far at most, relative to its length.
ROUNDINGS, MOST_AT_KINKS = 3, 0.1
EXACT_AT_ONCE = 8

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
    gradients: the relative difference |a - b| / |b| of the median image; NaN where there is no gradient.onnx.
    at_kinks: share of the images whose gradient differs by more than the tolerance, all at kinks of ReLUs.
    float16: the largest cosine distance of an image's embedding in float16; None where there is no graph for it.
    lacking: why there is none, where one was asked for.
    untraced: why there is no gradient.onnx.
    """

    embeddings: float
    gradients: float
    at_kinks: float
    float16: float | None = None
    lacking: str = ""
    untraced: str = ""

    def __str__(self) -> str:
        found = f"{ENCODER} is within {self.embeddings:.0e} of torch"
        found += f"; there is no {GRADIENT}: {self.untraced}" if self.untraced else f", {GRADIENT} within {self.gradients:.0e}"
        if self.float16 is not None:
            found += f", {ENCODER_FLOAT16} within a cosine distance of {self.float16:.0e}"
        return found + (f"; there is no {ENCODER_FLOAT16}: {self.lacking}" if self.lacking else "")


def check_parity(reference: nn.Module, folder: Path, samples: dict[str, Pixels]) -> Parity:
    """Compare both graphs in `folder`, or the one that is there, with torch, on each sample of images and batch size.

    reference: the encoder on the CPU in evaluation mode, BatchNorm and all.

    Raises:
        ExportMismatchError: they differ by more than the tolerance.

    """
    encoder = OnnxEncoder(folder / ENCODER)
    gradient = OnnxGradient(folder / GRADIENT) if (folder / GRADIENT).exists() else None
    found = []
    for kind, images in samples.items():
        cotangents = np.random.default_rng(1).standard_normal((len(images), encoder.dim), dtype=np.float32)
        embeddings, gradients = _in_torch(reference, images, cotangents)
        pixels = images.astype(np.float32) / np.float32(255)
        exact = cache(partial(_exact_gradients, reference, images, cotangents))
        for size in BATCHES:
            where = f"on {kind} images in batches of {size}"
            parts = [slice(i, i + size) for i in range(0, len(images), size)]
            ours = np.concatenate([encoder.embed(images[part]) for part in parts])
            largest = _compare_embeddings(ours, embeddings, where)
            if gradient is None:
                found.append((largest, np.nan, np.nan))
                continue
            ours = np.concatenate([gradient.vjp(pixels[part], cotangents[part]) for part in parts])
            found.append((largest, *compare_gradients(ours, gradients, where, exact)))
    return Parity(*(max(column) for column in zip(*found, strict=True)))


def _in_torch(reference: nn.Module, images: Pixels, cotangents: Floats) -> tuple[Floats, Floats]:
    pixels = (torch.from_numpy(images).float() / 255).requires_grad_()
    embeddings = F.normalize(reference(pixels.permute(0, 3, 1, 2).contiguous()), dim=1)
    (gradients,) = torch.autograd.grad((embeddings * torch.from_numpy(cotangents)).sum(), pixels)
    return embeddings.detach().numpy(), gradients.numpy()


def _exact_gradients(reference: nn.Module, images: Pixels, cotangents: Floats) -> Floats:
    """In float64, where next to nothing lies within rounding of a kink; a few images at a time."""
    double, found = deepcopy(reference).double(), []
    for start in range(0, len(images), EXACT_AT_ONCE):
        part = slice(start, start + EXACT_AT_ONCE)
        pixels = (torch.from_numpy(images[part]).double() / 255).requires_grad_()
        embeddings = F.normalize(double(pixels.permute(0, 3, 1, 2).contiguous()), dim=1)
        (gradients,) = torch.autograd.grad((embeddings * torch.from_numpy(cotangents[part]).double()).sum(), pixels)
        found.append(gradients.float().numpy())
    return np.concatenate(found)


def _compare_embeddings(ours: Floats, expected: Floats, where: str) -> float:
    largest = float(np.abs(ours - expected).max())
    if not largest <= TOLERANCE:  # and not the other way round: NaN is a mismatch too
        raise ExportMismatchError(
            f"{ENCODER} differs from torch by up to {largest:.2e} {where}; {TOLERANCE:.0e} is allowed", largest
        )
    return largest


def compare_gradients(
    ours: Floats, expected: Floats, where: str, exact: Callable[[], Floats] | None = None
) -> tuple[float, float]:
    """Compare vector-Jacobian products float32 [N, H, W, C].

    A unit whose input lies within rounding of a ReLU's kink has two right gradients, and torch and ONNX Runtime may take
    either: a few of a hundred images then differ by percents, and all others by 1e-6. A wrong graph is wrong on all. A large
    image has so many units that most have one at a kink; where there is an `exact` gradient, of float64, ours may then be as
    far from it as torch's own float32 is.

    Returns:
        The relative difference of the median image, and the share of images beyond the tolerance.

    Raises:
        ExportMismatchError: too many images lie beyond it.

    """
    relative = _relative(ours, expected)
    beyond = float(np.mean(~(relative <= TOLERANCE)))
    if beyond > 1 - AGREEING and not (exact is not None and _as_near(ours, expected, exact())):
        largest = float(relative.max())
        raise ExportMismatchError(
            f"{GRADIENT} differs from torch on {beyond:.0%} of the images, by up to {largest:.2e} relative, {where}; "
            f"{TOLERANCE:.0e} is allowed",
            largest,
        )
    return float(np.median(relative)), beyond


def _relative(ours: Floats, expected: Floats) -> NDArray[Any]:
    """|a - b| / |b| of each image."""
    difference = np.linalg.norm((ours - expected).reshape(len(ours), -1), axis=1)
    length = np.linalg.norm(expected.reshape(len(ours), -1), axis=1)
    relative: NDArray[Any] = difference / np.maximum(length, np.finfo(np.float32).tiny)
    return relative


def _as_near(ours: Floats, torchs: Floats, exact: Floats) -> bool:
    """Whether ours is as near to the exact gradient as torch's float32 is, in the median and at its worst."""
    distance, rounding = _relative(ours, exact), _relative(torchs, exact)
    return bool(
        np.median(distance) <= ROUNDINGS * np.median(rounding)
        and distance.max() <= min(ROUNDINGS * rounding.max(), MOST_AT_KINKS)
    )


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
