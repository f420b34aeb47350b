"""Whether anything a server sees tells a thief, or a sender of adversarial images made elsewhere, from an honest caller.

    python -m bench.detectors.telling --data-dir DIR [--asked 500] [--groups 40] [--json FILE]

Groups of so many different images, each asked once by one caller, are compared with the bundle's held-out images by everything
that an answer holds, and by the noise of their pixels. The callers: honest ones who ask any images of the bundle's kind; those
of one class, of JPEGs, of a noisy camera; a thief with images of this kind; a sender of adversarial images made on this very
bundle, within 8/255. Of each measure: how often an attacker's group is above an honest one of any images (1/2 is chance), and
how many are above every group of all honest callers.

DIR holds CIFAR-10, as published. Thief, sender and honest callers ask different images of its test part.
"""

import argparse
import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.detectors.attackers import adversarial_images
from bench.detectors.replay import answered, rows_of
from bench.harness.environment import restart_with_one_thread
from bench.harness.report import run_benchmark, show, write_json
from holdfast.bundle.reader import Bundle
from holdfast.console import track
from holdfast.data import load
from holdfast.flags import whole_number
from holdfast.model.answers import Answers
from holdfast.model.preprocess import Pixels
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.monitor.detectors.distribution.histograms import RecentHistograms
from holdfast.server.monitor.detectors.making import References
from holdfast.server.monitor.detectors.reference import Reference

Measure = Callable[[Pixels, Answers], float]
Scores = dict[str, NDArray[np.float64]]

ADVERSARIAL = 1000
"""Images that are made adversarial; the groups are drawn from them."""

ONE = np.zeros(1, np.intp)
UNIFORM = np.linspace(0, 1, 1001, dtype=np.float32)


def measures_of(reference: Reference) -> dict[str, Measure]:
    """All measures, the larger the less a group is like the bundle's held-out images, or the more it has seen."""

    def distance(known: NDArray[np.float32], values: NDArray[np.float32]) -> float:
        histograms = RecentHistograms(known, 1, 1e9)
        histograms.add(np.zeros(len(values), np.intp), values)
        return float(histograms.distance(ONE)[0])

    def classes(images: Pixels, answers: Answers) -> float:  # noqa: ARG001 - a measure's arguments
        shares = np.bincount(answers.labels, minlength=len(reference.classes)) / len(answers.labels)
        return float(np.abs(shares - reference.classes).sum() / 2)

    middle = reference.embeddings.mean(axis=0)
    planes = np.random.default_rng(0).standard_normal((reference.embeddings.shape[1], 10))

    def cells(embeddings: NDArray[np.float32]) -> NDArray[np.intp]:
        found: NDArray[np.intp] = ((embeddings - middle) @ planes > 0) @ (1 << np.arange(10))
        return found

    known = cells(reference.embeddings)
    return {
        "distance to the k-th neighbour": lambda _, a: distance(reference.distances, a.kth_distance),
        "the same, within the answered class": lambda _, a: distance(UNIFORM, reference.unusual(a.labels, a.kth_distance)),
        "soft margin": lambda _, a: distance(reference.margins, a.soft_margin),
        "classes": classes,
        "coverage of embeddings": lambda _, a: float(np.isin(known, cells(a.embeddings)).mean()),
        "credibility": lambda _, a: -float(a.credibility.mean()),
        "noise of the pixels": lambda images, _: noise_of(images),
    }


def noise_of(images: Pixels) -> float:
    """The median over images of the mean absolute difference of a pixel's brightness to the mean of its four neighbours."""
    grey = images.mean(axis=3)
    around = (grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]) / 4
    return float(np.median(np.abs(grey[:, 1:-1, 1:-1] - around).mean(axis=(1, 2))))


def as_jpegs(images: Pixels, quality: int = 50) -> Pixels:
    """What a JPEG of that quality keeps of each."""
    kept = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality)
        kept.append(np.asarray(Image.open(buffer)))
    return np.stack(kept)


def callers_of(bundle: Bundle, images: Pixels, labels: NDArray[np.int64]) -> dict[str, Pixels]:
    """What each caller has to ask about: different images of the test part; the first is honest and asks any."""
    rng = np.random.default_rng(0)
    noisy = images[6000:8000] + rng.normal(0, 5, images[6000:8000].shape)
    starts = track(range(9000, 9000 + ADVERSARIAL, 16), description="adversarial images")
    parts = [adversarial_images(bundle, images[start : start + 16]) for start in starts]
    return {
        "honest": images[:4000],
        "honest, one class": images[:6000][labels[:6000] == 3],
        "honest, JPEGs": as_jpegs(images[4000:6000]),
        "honest, noisy camera": np.clip(np.rint(noisy), 0, 255).astype(np.uint8),
        "thief": images[8000:9000],
        "sender": np.concatenate(parts)[:ADVERSARIAL],
    }


def scores_of(images: Pixels, answers: Answers, measures: dict[str, Measure], asked: int, groups: int) -> Scores:
    """Each measure of each group of one caller."""
    rng, found = np.random.default_rng(1), {name: np.empty(groups) for name in measures}
    for group in range(groups):
        rows = rng.permutation(len(images))[:asked]
        part = rows_of(answers, rows)
        for name, measure in measures.items():
            found[name][group] = measure(images[rows], part)
    return found


def main() -> int:
    """Runs the benchmark. Returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.detectors.telling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=Path("bundles/cifar10-small"), help="served (default: %(default)s)")
    parser.add_argument("--data-dir", type=Path, required=True, help="where CIFAR-10 lies")
    parser.add_argument("--asked", type=whole_number(1), default=500, help="images of one group (default: %(default)s)")
    parser.add_argument("--groups", type=whole_number(2), default=40, help="of each caller (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    restart_with_one_thread("bench.detectors.telling")
    test, bundle = load("cifar10", directory=options.data_dir).test, Bundle.open(options.bundle)
    snapshot = ModelSnapshot.of(bundle, 1, "bench")
    reference = References().of(snapshot)
    assert reference is not None  # noqa: S101 - of the shipped bundle
    measures, scores = measures_of(reference), dict[str, Scores]()
    for caller, images in callers_of(bundle, test.images, test.labels).items():
        scores[caller] = scores_of(images, answered(snapshot, images), measures, options.asked, options.groups)
    rows, values = [], dict[str, dict[str, float]]()
    for name in measures:
        honest = np.concatenate([own[name] for caller, own in scores.items() if caller.startswith("honest")])
        row = [name]
        for caller in ("thief", "sender"):
            above = float((scores[caller][name][:, None] > scores["honest"][name]).mean())
            found = int((scores[caller][name] > honest.max()).sum())
            values[f"{caller}: {name}"] = {"above": above, "found": found}
            row += [f"{above:.2f}", f"{found} of {options.groups}"]
        rows.append(row)
    columns = ["measure", "thief above honest", "found", "sender above honest", "found"]
    show(f"{options.asked} images of one caller, each asked once", columns, rows)
    if options.json:
        write_json(options.json, "detectors.telling", values)
    return 0


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
