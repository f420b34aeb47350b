"""A canary for a complete bundle: a few test images, attacked, with the answers that the bundle gives now.

It holds pixels of the set, and so a bundle with one hands images on to whoever gets it. Bundles of sets that must not be passed
on have none: `holdfast index --canary 0`, or `holdfast bundle copy --without-canary`. bundles/cifar10-small has none for that
reason.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.canary_set import CanarySet
from holdfast.bundle.reader import CANARY, GRADIENT, Bundle
from holdfast.bundle.threat_model import ThreatModel
from holdfast.bundle.writer import BundleWriter
from holdfast.data.streamed import LabelledSource
from holdfast.index_build.attack import attack
from holdfast.model.preprocess import Pixels
from holdfast.model.retrieval.base import Retriever

IMAGES = 32
NO_ATTACKER = ThreatModel("linf", 0.0)
"""Of recordings, of which there are no attacked copies."""

FEWEST, MOST_BYTES = 4, 2 * 2**20
"""Of large images so few are enough; and all of them together take at most so much, before they are compressed."""


def add_canary(
    directory: Path, test: LabelledSource, count: int = IMAGES, *, index: Retriever | None = None
) -> CanarySet | None:
    """Put a canary into a complete bundle; nothing else of it changes.

    Images are taken evenly from the test part, and their attacked copies are made by projected gradient descent within the
    bundle's threat model, where it has a gradient and an index that can hand out its exemplars.

    Args:
        directory: of the bundle.
        test: images that are neither exemplars nor held out for calibration.
        count: of the images, at most; 0 takes the canary out that is there.
        index: of the bundle, where it is open already; else it is read.

    Returns:
        What was put in; None where the test part is empty, or none was wanted.

    Raises:
        BundleError: the bundle is not complete.

    """
    bundle = Bundle.open(directory) if index is None else Bundle.open_encoder(directory)
    count = min(count, len(test), max(FEWEST, MOST_BYTES // int(np.prod(bundle.manifest.input.shape))))
    read = test.read(np.linspace(0, len(test) - 1, count).astype(np.int64)) if count else None
    writer = BundleWriter.open(directory)
    if read is None or not len(read.rows):
        writer.drop(CANARY)
        writer.commit(bundle.manifest)
        return None
    canary = made(bundle, read.images, np.asarray(test.labels[read.rows], dtype=np.int64), index)
    writer.add(CANARY, canary.save)
    writer.commit(bundle.manifest)
    return canary


def keep_canary(directory: Path, before: CanarySet, labels: NDArray[np.int64], *, index: Retriever | None = None) -> CanarySet:
    """Put the canary of another index over the same encoder into a complete bundle, with the answers of this one.

    Args:
        directory: of the bundle.
        before: the other canary.
        labels: int64 [n], the true classes of its images, as this bundle numbers them.
        index: of the bundle, where it is open already; else it is read.

    Raises:
        BundleError: the bundle is not complete.

    """
    bundle = Bundle.open(directory) if index is None else Bundle.open_encoder(directory)
    writer = BundleWriter.open(directory)
    canary = before.recorded_again(bundle.classifier(index), bundle.class_names, labels)
    writer.add(CANARY, canary.save)
    writer.commit(bundle.manifest)
    return canary


def made(bundle: Bundle, images: Pixels, labels: NDArray[np.int64], index: Retriever | None = None) -> CanarySet:
    """The canary of these images: uint8 [n, H, W, 3] and their labels int64 [n]; answered by `index`, or the bundle's own."""
    classifier, recorded = bundle.classifier(index), bundle.manifest.threat_model
    threat = NO_ATTACKER if recorded is None else recorded.model()
    attacked: Pixels | None = None
    if classifier.surrogate is not None and GRADIENT in bundle.manifest.files and threat.epsilon > 0:
        attacked = attack(bundle, images, labels, classifier.surrogate, threat, advance=lambda _: None)
    names = bundle.class_names
    return CanarySet.recorded(classifier, images, labels, attacked=attacked, class_names=names, threat=threat)
