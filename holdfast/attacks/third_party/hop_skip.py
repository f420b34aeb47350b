"""HopSkipJump (Chen et al. 2020, arXiv 1904.02144), by ART: a walk along the boundary that needs nothing but labels."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from holdfast.attacks.attack import Attack, AttackBatch, AttackKind
from holdfast.attacks.geometry import geometry_of
from holdfast.attacks.quantise import to_images, to_pixels
from holdfast.attacks.rounding import SLACK
from holdfast.attacks.third_party.library import load, seeded
from holdfast.attacks.third_party.served import served_as_art_classifier
from holdfast.attacks.victim import Victim, is_fooled
from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.preprocess import Pixels

OTHERS = 10
"""Images of other classes in the batch that are tried as a starting point, the nearest ones."""

GRAINS = (1, 2, 4, 8, 16)
"""Cells along a side of the random images that are tried as a starting point too: fine noise is one class to most encoders."""

DRAWS = 8
"""Random images of each grain."""

COARSEST = 0.05
"""Largest relative precision of the search for the boundary."""


@dataclass(frozen=True)
class HopSkip(Attack):
    """HopSkipJump on the served labels; an image is done when a wrong answer lies in the ball, or the queries are spent.

    Attributes:
        queries: served answers asked for each image, those for a starting point included.

    """

    queries: int = 5000
    kind = AttackKind.BLACK_BOX

    def __str__(self) -> str:
        return f"HopSkipJump {self.queries} queries"

    def run(self, batch: AttackBatch) -> Tensor:
        """The nearest wrongly answered images, brought into the ball; clean ones where none was met."""
        pixels, labels, threat = batch.pixels, batch.labels, batch.threat
        found = pixels.clone()
        with seeded(batch.generator):
            for i in range(len(pixels)):
                walk = BoundaryWalk(batch.victim, to_images(pixels[i : i + 1]), int(labels[i]), threat, self.queries)
                if (nearest := walk_boundary(walk, starting_points(pixels, labels, i))) is not None:
                    found[i] = to_pixels(nearest, pixels.device)[0]
        return geometry_of(threat).project(found, pixels)


class _SpentError(Exception):
    """Ends a walk from inside the library: it is there, or its queries are spent."""


@dataclass
class BoundaryWalk:
    """All answers about one image, counted: a classifier that says 1 where the served answer is wrong."""

    victim: Victim
    clean: Pixels
    label: int
    threat: ThreatModel
    queries: int
    nearest: Pixels | None = None
    distance: float = field(default=np.inf)

    def __call__(self, images: Pixels) -> NDArray[np.int64]:
        """Uint8 [n, H, W, 3] -> int64 [n]; raises `_SpentError` where the walk ends."""
        images = images[: self.queries]
        if len(images) == 0:
            raise _SpentError
        self.queries -= len(images)
        wrong = is_fooled(self.victim.answer(images), np.full(len(images), self.label))
        if wrong.any():
            self._keep(images[wrong])
        if self.distance <= self.threat.epsilon * (1 + SLACK) or self.queries == 0:
            raise _SpentError
        return wrong.astype(np.int64)

    def _keep(self, images: Pixels) -> None:
        distances = geometry_of(self.threat).lengths(to_pixels(images) - to_pixels(self.clean))
        closest = int(distances.argmin())
        if float(distances[closest]) < self.distance:
            self.nearest, self.distance = images[closest : closest + 1], float(distances[closest])


def walk_boundary(walk: BoundaryWalk, starts: Pixels) -> Pixels | None:
    """The nearest wrongly answered image that was met: uint8 [1, H, W, 3]; none where no start was one."""
    try:
        walk(starts)
        if walk.nearest is not None:
            height, width = walk.clean.shape[1:3]
            classifier = served_as_art_classifier(walk, classes=2, size=(height, width))
            attack = load("art.attacks.evasion.hop_skip_jump").HopSkipJump(
                classifier,
                norm=np.inf if walk.threat.norm == "linf" else 2,
                max_iter=walk.queries,  # never reached: each iteration asks more than once
                batch_size=walk.queries,
                verbose=False,
            )
            attack.theta = precision(walk.threat, walk.clean[0].size)
            clean, start = (to_pixels(images).numpy() for images in (walk.clean, walk.nearest))
            attack.generate(clean, y=np.array([[1, 0]]), x_adv_init=start)
    except _SpentError:
        pass
    return walk.nearest


def precision(threat: ThreatModel, dimensions: int) -> float:
    """The library's precision, such that its noise is as large as a grey level at distance epsilon.

    From it follow the precision of the search for the boundary (theta, relative) and the noise by which a gradient is
    estimated: theta sqrt(d) distance per pixel in L-inf and theta distance in L2. At the library's own values, .01 / d and
    .01 / sqrt(d), that is a thousandth of a grey level: a server rounds it away, and the estimate is of nothing.
    """
    per_pixel = threat.epsilon * (dimensions**0.5 if threat.norm == "linf" else 1)
    return min(COARSEST, 1 / (255 * per_pixel))


def starting_points(pixels: Tensor, labels: Tensor, i: int) -> Pixels:
    """Images that may be of another class than pixels[i]: uint8 [m, H, W, 3]."""
    others = pixels[labels != labels[i]]
    order = (others - pixels[i]).flatten(1).norm(dim=1).argsort()
    size = pixels.shape[2:]
    noise = [interpolate(torch.rand(DRAWS, 3, grain, grain), size=size) for grain in GRAINS]
    return to_images(torch.cat([others[order[:OTHERS]].cpu(), *noise]))
