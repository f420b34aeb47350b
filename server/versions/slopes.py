"""Whether gradient.onnx is the slope of encoder.onnx: found by small steps of real images, before probes rest on it.

A gradient that is zero, turned around or zero in parts makes an encoder look robust: attacks that follow it find less, and
probes report that nothing is wrong. Three questions are asked of it:

- is there a gradient at all;
- does a step along its signs raise what it should raise: of a gradient that is turned around it falls, of another encoder's it
  does either;
- where it is zero, does the embedding stand still when these pixels change a little: or else that part was masked.

A mask of less than FEWEST_ZEROS of the values is not looked for, nor one that only makes slopes smaller, nor one that hides
among ten times as many values that the encoder does not look at.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.attacks.numpy_pgd import PixelGradient, to_floats
from holdfast.model.answers import Floats
from holdfast.model.encoder.onnx import Encoder
from holdfast.model.preprocess import Pixels

STEP, LEAST_RISEN = 2, 0.75
"""Grey levels of a step along the signs, and the share of steps that have to raise what they should."""

FEWEST_ZEROS, NEGLIGIBLE = 0.005, 1e-7
"""Share of an image's values from which on zeros are looked at, and what counts as zero, as a part of the largest slope."""

STANDS_STILL = 0.1
"""Times the squared move by as many other values, up to which values of no slope may move the embedding."""


@dataclass(frozen=True, slots=True)
class SlopeFindings:
    """What was found of a gradient, over some images.

    Attributes:
        images: how many.
        flat: those for which it is zero everywhere, or no number.
        risen: share of steps along its signs that raised what they should, of the other images; NaN of none.
        masked: images in which values of no slope move the embedding as others do.
        zeros: the mean share of these values, in [0, 1]; 0 of none.

    """

    images: int
    flat: int
    risen: float
    masked: int
    zeros: float

    def fault(self) -> str:
        """What is wrong with the gradient, in a few words; "" where nothing was found."""
        if self.flat > self.images / 2:
            return f"is zero for {self.flat} of {self.images} images"
        if self.risen < LEAST_RISEN:
            return f"points the wrong way: a step along it raises what it should in {self.risen:.0%} of the images"
        if self.masked > self.images / 2:
            return f"is zero for {self.zeros:.1%} of the values, which move the embedding all the same"
        return ""


def try_slopes(encoder: Encoder, gradient: PixelGradient, images: Pixels) -> SlopeFindings:
    """Hold a gradient against small steps of images.

    Args:
        encoder: embeds.
        gradient: its backward pass, as it is claimed to be.
        images: uint8 [n, H, W, 3], at least one.

    """
    rng = np.random.default_rng(0)
    embeddings = encoder.embed(images)
    cotangents = rng.standard_normal(embeddings.shape).astype(np.float32)
    cotangents -= np.sum(cotangents * embeddings, axis=1, keepdims=True) * embeddings  # lengths do not change
    slopes = gradient.vjp(to_floats(images), cotangents)
    largest = np.abs(slopes).reshape(len(images), -1).max(axis=1)
    sloping = np.isfinite(largest) & (largest > 0)
    if not sloping.any():
        return SlopeFindings(len(images), len(images), float("nan"), 0, 0.0)
    rows = np.flatnonzero(sloping)
    some, steep = images[rows], slopes[rows]
    up, down = (encoder.embed(_moved(some, sign * STEP * np.sign(steep))) for sign in (1, -1))
    rises = np.sum((up - down) * cotangents[rows], axis=1) > 0
    zero = np.abs(steep) <= NEGLIGIBLE * largest[rows, None, None, None]
    masked = _moves_all_the_same(encoder, some, zero, embeddings[rows], rng)
    shares = zero.reshape(len(rows), -1).mean(axis=1)
    return SlopeFindings(
        images=len(images),
        flat=len(images) - len(rows),
        risen=float(rises.mean()),
        masked=int(masked.sum()),
        zeros=float(shares[masked].mean()) if masked.any() else 0.0,
    )


def _moves_all_the_same(
    encoder: Encoder, images: Pixels, zero: NDArray[np.bool_], embeddings: Floats, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Of which images the values of no slope move the embedding as others do: bool [n].

    As many others, since a few values move it by little, and rounding by no less.
    """
    signs = STEP * rng.choice(np.array([-1, 1]), images.shape)
    others = _as_many(~zero, zero, rng)
    by_zeros, by_others = (
        ((encoder.embed(_moved(images, signs * part)) - embeddings) ** 2).sum(axis=1) for part in (zero, others)
    )
    zeros, compared = (part.reshape(len(part), -1).mean(axis=1) for part in (zero, others))
    masked: NDArray[np.bool_] = (zeros >= FEWEST_ZEROS) & (by_zeros * compared > STANDS_STILL * by_others * zeros)
    return masked


def _as_many(among: NDArray[np.bool_], like: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Of each image as many of the values `among` as `like` has, drawn at random; all where there are fewer: bool [n, ...]."""
    chosen = np.zeros_like(among)
    for each, own, others in zip(chosen, among, like, strict=True):
        rows = rng.permutation(np.flatnonzero(own))[: int(others.sum())]
        each.reshape(-1)[rows] = True
    return chosen


def _moved(images: Pixels, levels: NDArray[np.number]) -> Pixels:
    moved: Pixels = np.clip(images + levels, 0, 255).astype(np.uint8)
    return moved
