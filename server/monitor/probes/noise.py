"""Random noise of size epsilon: what flips here needs no attacker at all."""

import numpy as np

from holdfast.attacks.numpy_pgd import numpy_geometry_of
from holdfast.attacks.rounding import round_within
from holdfast.server.monitor.probes.attack import ProbeTarget, Search


def noise(target: ProbeTarget, rng: np.random.Generator) -> Search:
    """One candidate, uniform in the ball and rounded to uint8."""
    clean = target.image[np.newaxis]
    noisy = numpy_geometry_of(target.threat).random_start(clean.astype(np.float64) / 255, rng)
    yield round_within(noisy, clean, target.threat)[0]
