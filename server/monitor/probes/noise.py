"""Random noise of size epsilon: what flips here needs no attacker at all."""

import numpy as np

from holdfast.server.monitor.probes.attack import Question, Search


def noise(question: Question, rng: np.random.Generator) -> Search:
    """One candidate, uniform in the ball and rounded to uint8."""
    shift = rng.uniform(-question.radius, question.radius, question.image.shape)
    yield question.inside(np.rint(question.image + shift).astype(np.int16))
