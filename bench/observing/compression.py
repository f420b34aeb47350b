"""How much weaker probes are where the soft vote that they descend is made of prototypes, and not of all exemplars.

A server keeps PROTOTYPES rows of a larger bank. Here the same images are attacked within the bundle's threat model by the
probes' own PGD, once through the soft vote of all exemplars and once for each number of prototypes; the served vote judges all
of them.

    python -m bench.observing.compression --bundle DIR [--data-dir DIR] [--prototypes 256 1024 4096] [--images 300] [--json
    FILE]
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.harness.report import run_benchmark, show, write_json
from holdfast.bundle.reader import Bundle
from holdfast.console import track
from holdfast.errors import HoldfastError
from holdfast.evaluation import unseen_images
from holdfast.flags import positive, whole_number
from holdfast.intervals import Rate
from holdfast.model.classifier import Classifier
from holdfast.model.preprocess import Pixels
from holdfast.model.prototypes import PROTOTYPES
from holdfast.model.retrieval.base import bank_of
from holdfast.model.surrogate import SoftKNN
from holdfast.server.monitor.probes.attack import ProbeTarget, Search, radius_in_levels
from holdfast.server.monitor.probes.pgd import pgd


@dataclass(frozen=True)
class PgdEffort:
    """How hard the attack tries: radius in grey levels, and gradient steps."""

    radius: int
    steps: int


def flips(bundle: Bundle, classifier: Classifier, surrogate: SoftKNN, images: Pixels, effort: PgdEffort) -> NDArray[np.bool_]:
    """Which answers the probes' PGD changes, through this soft vote: bool [N]."""
    labels, found = classifier.classify(images).labels, list[bool]()
    for image, label in zip(track(images, description=f"{len(surrogate):,} rows"), labels.tolist(), strict=True):
        target = ProbeTarget(image, label, effort.radius, effort.steps, 1, surrogate, bundle.gradient)
        search, flipped = pgd(target, np.random.default_rng(len(found))), False
        candidate: Pixels | None = next(search)
        while candidate is not None and not flipped:
            answers = classifier.classify(candidate[np.newaxis])
            flipped = bool(answers.labels[0] != label)
            candidate = None if flipped else _sent(search, answers.embeddings[0])
        found.append(flipped)
    return np.array(found)


def _sent(search: Search, embedding: NDArray[np.float32]) -> Pixels | None:
    """The next candidate; None at the end of the search."""
    try:
        return search.send(embedding)
    except StopIteration:
        return None


def main() -> int:
    """Runs the benchmark. Returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.observing.compression", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="bundle with an index that hands out its exemplars")
    parser.add_argument("--data-dir", type=Path, help="directory of its data set, where it is not the usual one")
    parser.add_argument("--prototypes", type=whole_number(1), nargs="+", default=[256, 1024, PROTOTYPES], help="rows")
    parser.add_argument("--images", type=whole_number(1), default=300, help="of the test part (default: %(default)s)")
    parser.add_argument("--epsilon", type=positive, help="L-infinity radius in pixels of [0, 1]; the bundle's by default")
    parser.add_argument("--steps", type=whole_number(1), default=10, help="of the attack (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    radius = radius_in_levels(options.epsilon or bundle.manifest.ball.epsilon)
    if radius < 1:
        raise HoldfastError("the bundle names no radius to attack at; give --epsilon")
    test = unseen_images(bundle.manifest, options.data_dir)
    images = test.images[np.linspace(0, len(test.labels) - 1, options.images).astype(np.int64)]
    classifier, bank, tau = bundle.classifier(), bank_of(bundle.index), bundle.manifest.surrogate_tau
    classes, weights = len(bundle.class_names), bundle.manifest.vote.weights_of(len(bundle.class_names))
    found = {}
    for rows in [*(count for count in options.prototypes if count < len(bank.labels)), len(bank.labels)]:
        surrogate = SoftKNN.compressed(bank.embeddings, bank.labels, classes, tau, prototypes=rows).reweighed(weights)
        found[rows] = flips(bundle, classifier, surrogate, images, PgdEffort(radius, options.steps))
    whole = found[len(bank.labels)]
    table = [
        [f"{rows:,}", str(Rate(int(each.sum()), len(each))), f"{int((each & ~whole).sum())} / {int((whole & ~each).sum())}"]
        for rows, each in found.items()
    ]
    title = f"{options.bundle}, {options.images} images, PGD-{options.steps} at {radius}/255"
    show(title, ["rows of the soft vote", "answers changed", "that all exemplars miss / find beyond"], table)
    if options.json:
        write_json(options.json, "observing.compression", {str(rows): each.mean() for rows, each in found.items()})
    return 0


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
