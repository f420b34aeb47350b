"""Signed-gradient PGD (Madry et al., arXiv 1706.06083) on the integer pixel grid, through gradient.onnx."""

import numpy as np

from holdfast.attacks.numpy_pgd import margin_slopes, numpy_pgd, to_floats
from holdfast.server.monitor.probes.attack import ProbeTarget, Search
from holdfast.server.monitor.probes.noise import noise


def pgd(target: ProbeTarget, rng: np.random.Generator) -> Search:
    """Descends the whole-bank soft-kNN margin of the served label from a random start in the ball.

    Every candidate is a real uint8 picture, so what is judged is what a client could send. The step, 2.5 radius / steps in
    whole grey levels, lets the search cross the ball and return.
    """
    step = max(1, round(2.5 * target.radius / target.steps))
    search = numpy_pgd(
        target.image[np.newaxis],
        margin_slopes(target.surrogate, target.gradient, np.array([target.label])),
        target.threat,
        steps=target.steps,
        step_size=step / 255,
        start=to_floats(next(noise(target, rng))[np.newaxis]),
        on_grid=True,
    )
    candidates = next(search)
    for _ in range(target.steps):
        embedding = yield candidates[0]
        candidates = search.send(embedding[np.newaxis])
    yield candidates[0]
