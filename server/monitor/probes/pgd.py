"""Signed-gradient PGD (Madry et al., arXiv 1706.06083) on the integer pixel grid, through gradient.onnx."""

import numpy as np

from holdfast.server.monitor.probes.attack import Question, Search
from holdfast.server.monitor.probes.noise import noise


def pgd(question: Question, rng: np.random.Generator) -> Search:
    """Descends the whole-bank soft-kNN margin of the served label from a random start in the ball.

    With z the served embedding, dmargin/dx = vjp(x, dmargin/dz). Every candidate is a real uint8 picture, so what is
    judged is what a client could send. The step, 2.5 radius / steps, lets the search cross the ball and return.
    """
    step = max(1, round(2.5 * question.radius / question.steps))
    label = np.array([question.label])
    candidate = next(noise(question, rng))
    for _ in range(question.steps):
        embedding = yield candidate
        _, cotangent = question.surrogate.margin_gradient(embedding[None], label)
        pixels = candidate[None].astype(np.float32) / np.float32(255)
        slope = question.gradient.vjp(pixels, cotangent)[0]
        candidate = question.inside(candidate - step * np.sign(slope).astype(np.int16))
    yield candidate
