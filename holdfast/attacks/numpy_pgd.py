"""Projected gradient descent (Madry et al. 2018, arXiv 1706.06083) in numpy, through gradient.onnx.

It is for programs without torch: the server's probes judge every candidate as it comes, index hardening takes the last one.
Geometry and loop are those of `holdfast.attacks.geometry` and `holdfast.attacks.pgd`, rounding is `holdfast.attacks.rounding`.
"""

from collections.abc import Callable, Generator
from math import prod
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from holdfast.attacks.rounding import round_within
from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.preprocess import Pixels
from holdfast.model.surrogate import Surrogate

Floats = NDArray[np.float32]
AnyFloats = NDArray[np.floating]
Scalar = TypeVar("Scalar", bound=np.floating)

Slopes = Callable[[Floats, Floats], Floats]
"""(pixels float32 [n, H, W, 3] in [0, 1], embeddings float32 [n, D] of the candidate images) -> gradient of what is maximised
with respect to the pixels, float32 [n, H, W, 3]."""

CandidateBatches = Generator[Pixels, Floats, None]
"""Yields candidates uint8 [n, H, W, 3] inside the ball; is sent the embeddings float32 [n, D] of each, as served."""


class PixelGradient(Protocol):
    """The backward pass of an encoder; `OnnxGradient` is one."""

    def vjp(self, pixels: Floats, cotangents: Floats, /) -> Floats:
        """Gradient of <cotangents [n, D], embeddings> with respect to pixels. Shape: [n, H, W, 3] -> [n, H, W, 3]."""
        ...


class NumpyGeometry(Protocol):
    """A ball around the clean images, in pixels of [0, 1]; batches are float [n, ...]."""

    epsilon: float

    def random_start(self, clean: AnyFloats, rng: np.random.Generator) -> AnyFloats:
        """Points uniform in the ball around `clean`, clipped to [0, 1]."""
        ...

    def step(self, pixels: Floats, gradient: Floats, size: float) -> Floats:
        """Steepest ascent: the move of norm `size` that most increases a loss with this `gradient`."""
        ...

    def project(self, pixels: Floats, clean: Floats) -> Floats:
        """The nearest points that lie in the ball around `clean` and in [0, 1]."""
        ...


class NumpyLinf:
    """Every pixel may move by epsilon."""

    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon

    def random_start(self, clean: AnyFloats, rng: np.random.Generator) -> AnyFloats:
        """Each pixel uniform in its interval."""
        noise = rng.uniform(-self.epsilon, self.epsilon, clean.shape)
        points: AnyFloats = (clean + noise).clip(0, 1).astype(clean.dtype)
        return points

    def step(self, pixels: Floats, gradient: Floats, size: float) -> Floats:
        """Each pixel by `size`, along the sign of its gradient."""
        directions: Floats = np.sign(gradient)
        return pixels + np.float32(size) * directions

    def project(self, pixels: Floats, clean: Floats) -> Floats:
        """Clip each pixel to its interval."""
        projected: Floats = (clean + (pixels - clean).clip(-self.epsilon, self.epsilon)).clip(0, 1)
        return projected


class NumpyL2:
    """The whole image may move by a Euclidean length of epsilon."""

    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon

    def random_start(self, clean: AnyFloats, rng: np.random.Generator) -> AnyFloats:
        """Each image uniform in its ball."""
        direction = rng.standard_normal(clean.shape)
        # In d dimensions the volume inside radius r grows as r^d, so u^(1/d) makes the points uniform in the ball.
        radius = self.epsilon * rng.uniform(size=len(clean)) ** (1 / prod(clean.shape[1:]))
        scale = radius / np.linalg.norm(direction.reshape(len(clean), prod(clean.shape[1:])), axis=1)
        points: AnyFloats = (clean + direction * _per_sample(scale, direction)).clip(0, 1).astype(clean.dtype)
        return points

    def step(self, pixels: Floats, gradient: Floats, size: float) -> Floats:
        """Each image by the length `size`, along its gradient."""
        return pixels + gradient * _per_sample(np.float32(size) / _divisors(gradient), gradient)

    def project(self, pixels: Floats, clean: Floats) -> Floats:
        """Shorten what is too long, then clip."""
        move = pixels - clean
        shrink = np.minimum(np.float32(self.epsilon) / _divisors(move), np.float32(1))
        # Clipping to [0, 1] moves every pixel toward its clean value, so it cannot leave the ball again.
        projected: Floats = (clean + move * _per_sample(shrink, move)).clip(0, 1)
        return projected


def numpy_geometry_of(threat: ThreatModel) -> NumpyGeometry:
    """The geometry in which `threat` allows an attacker to move."""
    match threat.norm:
        case "linf":
            return NumpyLinf(threat.epsilon)
        case "l2":
            return NumpyL2(threat.epsilon)


def numpy_pgd(
    images: Pixels,
    slopes: Slopes,
    threat: ThreatModel,
    *,
    steps: int,
    step_size: float,
    start: Floats | None = None,
    on_grid: bool = False,
) -> CandidateBatches:
    """Images within `threat` of `images` at which a loss is large: `steps` + 1 candidates, one after the other.

    Args:
        images: uint8 [n, H, W, 3], the clean images.
        slopes: the gradient of what is maximised.
        threat: the norm and the epsilon, in pixels of [0, 1].
        steps: how many gradients are taken.
        step_size: length of each step, in pixels of [0, 1] and in the norm of `threat`.
        start: float32 [n, H, W, 3] in [0, 1], inside the ball; the clean images without it.
        on_grid: go on from each candidate, an image that a client could send; otherwise from the unrounded point.

    Yields:
        uint8 [n, H, W, 3], inside the ball. It wants the embeddings of every candidate but the last.

    """
    geometry = numpy_geometry_of(threat)
    clean = to_floats(images)
    current = clean if start is None else start
    for _ in range(steps):
        candidates = round_within(current, images, threat)
        embeddings = yield candidates
        if on_grid:
            current = to_floats(candidates)
        current = geometry.project(geometry.step(current, slopes(current, embeddings), step_size), clean)
    yield round_within(current, images, threat)


def margin_slopes(surrogate: Surrogate, gradient: PixelGradient, labels: NDArray[np.int64]) -> Slopes:
    """What leads down the soft-kNN margin of `labels` int64 [n], by the encoder's own gradient: dm/dx = vjp(x, dm/dz)."""

    def slopes(pixels: Floats, embeddings: Floats) -> Floats:
        _, cotangents = surrogate.margin_gradient(embeddings, labels)
        return -gradient.vjp(pixels, cotangents)

    return slopes


def to_floats(images: Pixels) -> Floats:
    """As gradient.onnx takes them. Shape: uint8 [n, H, W, 3] -> float32 [n, H, W, 3] in [0, 1]."""
    return images.astype(np.float32) / np.float32(255)


def _divisors(batch: Floats) -> Floats:
    """Lengths to divide by: never zero, so that what does not move stays where it is."""
    lengths: Floats = np.linalg.norm(batch.reshape(len(batch), prod(batch.shape[1:])), axis=1)
    return np.maximum(lengths, np.finfo(batch.dtype).tiny ** 0.5)


def _per_sample(values: NDArray[Scalar], batch: NDArray[Scalar]) -> NDArray[Scalar]:
    return values.reshape(-1, *(1,) * (batch.ndim - 1))
