"""A version tried before it is served: every batch size is run, and what comes out has to be what the bundle says of itself."""

from pathlib import Path

import numpy as np

from holdfast.bundle.canary_set import CanarySet
from holdfast.bundle.reader import Bundle
from holdfast.model.answers import Answers
from holdfast.model.classifier import Classifier
from holdfast.model.preprocess import Pixels
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.versions.checks import (
    check_fixed,
    check_gradient,
    check_held_out,
    check_recorded,
    check_stamps,
    check_warm,
)

PLANTS, PLANTS_IN_LARGE, LARGE = 8, 4, 64 * 64
"""Images beside which an adversary is planted; fewer where an image has more pixels than LARGE, which cost the encoder more."""


def try_model(bundle: Bundle, snapshot: ModelSnapshot, most: int, fixed: Path | None = None) -> str:
    """Run every batch size, the canary of the bundle, the planted adversaries, and the operator's own canary.

    Args:
        bundle: opened.
        snapshot: the model of it.
        most: images of the largest batch.
        fixed: a file of another canary, which every version has to pass; none where there is none.

    Returns:
        Which canaries were run and what came of them, in one sentence.

    Raises:
        BundleError: what came out is not what it should be; says what was expected. Or `fixed` is no canary.

    """
    classifier, own = snapshot.classifier, bundle.canary_set
    shape = snapshot.description.contract.shape
    check_warm(warm(classifier, shape, most))
    passed = [check_recorded(classifier, own) if own is not None else check_held_out(bundle, classifier)]
    plants = PLANTS if shape[0] * shape[1] <= LARGE else PLANTS_IN_LARGE
    passed.append(check_gradient(bundle, own.images[:plants] if own is not None else _noise(shape, plants)))
    if own is not None:
        passed.append(check_stamps(classifier, own))
    if fixed is not None:
        passed.append(check_fixed(classifier, bundle, CanarySet.load(fixed), fixed))
    return "; ".join(sentence for sentence in passed if sentence)


def warm(classifier: Classifier, shape: tuple[int, int, int], most: int) -> list[Answers]:
    """Classify batches of 1, 2, 4 and so on up to `most` images of noise, so that buffers of each size are there."""
    noise = _noise(shape, most)
    return [classifier.classify(noise[:size]) for size in batch_sizes(most)]


def batch_sizes(most: int) -> list[int]:
    """The powers of two below `most`, and `most` itself."""
    return [*(1 << power for power in range((most - 1).bit_length())), most]


def _noise(shape: tuple[int, int, int], images: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (images, *shape), dtype=np.uint8)
