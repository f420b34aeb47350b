"""What an approximate index costs of robustness: the same exemplars, encoder and vote, over flat, IVF and HNSW.

Each index is tuned on the bundle's calibration images to answer 99.9 % of them as the exact one does; a second inverted file
looks at an eighth of those cells. Each is attacked on its own served answers, within the bundle's ball, by the same losses, and
the inverted files by one more, which knows the cells. Clean answers are compared with those of the exact index.

    python -m bench.retrieval.approximate --data-dir DIR [--bundle DIR] [--images 100] [--steps 10] [--json FILE]
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.harness.report import run_benchmark, show, write_json
from holdfast.attacks.attack import PGDAttack
from holdfast.attacks.losses import AttackLoss, Guided, Margin, gap_losses
from holdfast.attacks.onnx_embedding import OnnxEmbedding
from holdfast.attacks.search.suite import AttackSuite
from holdfast.attacks.surrogate import surrogate_of
from holdfast.attacks.victim import Victim, served
from holdfast.bundle.reader import Bundle
from holdfast.data import LabelledImages, load_recorded
from holdfast.flags import whole_number
from holdfast.intervals import Rate
from holdfast.model.answers import Ints, Neighbours
from holdfast.model.classifier import Classifier
from holdfast.model.retrieval.approximate.choice import choose_index
from holdfast.model.retrieval.approximate.ivf import IvfIndex
from holdfast.model.retrieval.base import Retriever, bank_of
from holdfast.model.vote import vote

LOSSES: tuple[AttackLoss, ...] = (Margin(0.05), Margin(0.1), Guided(75))
FEWER = 8
"""The second inverted file looks at so many times fewer cells than were chosen."""


@dataclass(frozen=True, slots=True)
class AttackedIndex:
    """One index: clean and robust accuracy, clean answers that are the exact index's, images that the gap alone fooled."""

    index: str
    clean: Rate
    robust: Rate
    alike: Rate
    by_gap: int


def indexes(bundle: Bundle) -> list[Retriever]:
    """The bundle's own index, IVF and HNSW tuned on its calibration images, and IVF that looks at less."""
    held_out = bundle.calibration_set.embeddings
    bank, manifest = bank_of(bundle.index), bundle.manifest

    def answer(neighbours: Neighbours) -> Ints:
        return vote(neighbours.similarities, neighbours.labels, len(manifest.class_names), manifest.vote).labels

    found: list[Retriever] = [bundle.index]
    for kind in ("ivf", "hnsw"):
        index = choose_index(bank, manifest.vote.k, held_out, answer, kind=kind).index
        found.append(index)
        if isinstance(index, IvfIndex):
            found.append(index.probing(max(1, index.probes // FEWER)))
    return found


def attack(bundle: Bundle, index: Retriever, test: LabelledImages, exact: Ints, *, steps: int, threads: int) -> AttackedIndex:
    """Attack one index's answers."""
    manifest = bundle.manifest
    classifier = Classifier(
        bundle.encoder,
        index,
        classes=len(manifest.class_names),
        vote=manifest.vote,
        calibration=manifest.calibration,
        surrogate_tau=manifest.surrogate_tau,
    )
    victim = Victim(OnnxEmbedding(bundle), surrogate_of(bundle), served(classifier), threads=threads)
    gap = gap_losses(index)
    suite = AttackSuite(tuple(PGDAttack(loss, steps) for loss in (*LOSSES, *gap)), batch_size=50)
    outcome = suite(victim, test.images, test.labels, manifest.ball)
    right = outcome.clean_labels == test.labels
    n, named = len(right), {str(loss) for loss in gap}
    return AttackedIndex(
        str(index),
        Rate(int(right.sum()), n),
        Rate(int((right & ~outcome.success).sum()), n),
        Rate(int((outcome.clean_labels == exact).sum()), n),
        sum(name in named for name in outcome.found_by),
    )


def main() -> int:
    """Runs the benchmark. It promises nothing, so it returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.retrieval.approximate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=Path("bundles/cifar10-small"), help="(default: %(default)s)")
    parser.add_argument("--data-dir", type=Path, help="where its labelled set lies")
    parser.add_argument("--images", type=whole_number(1), default=100, help="that are attacked (default: %(default)s)")
    parser.add_argument("--steps", type=whole_number(1), default=10, help="gradients of each loss (default: %(default)s)")
    parser.add_argument("--threads", type=whole_number(1), default=1, help="batches side by side (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    test = load_recorded(bundle.manifest, options.data_dir).test
    test = test.take(np.sort(np.random.default_rng(0).permutation(len(test))[: options.images]))
    exact = np.asarray(served(bundle.classifier())(test.images))
    found = []
    for index in indexes(bundle):
        found.append(attack(bundle, index, test, exact, steps=options.steps, threads=options.threads))
        print(found[-1], flush=True)
    rows = [[each.index, str(each.clean), str(each.robust), str(each.alike), str(each.by_gap)] for each in found]
    columns = ["index", "clean", "robust", "clean answers as the exact index", "fooled by the gap alone"]
    show(
        f"{options.images} test images, {options.steps} steps of each loss, {bundle.manifest.ball}",
        columns,
        rows,
    )
    if options.json:
        named = [dict(zip(columns, row, strict=True)) for row in rows]
        write_json(options.json, "approximate", {"images": options.images, "steps": options.steps, "indexes": named})
    return 0


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
