"""How much poison the judgement of new exemplars holds back, and how many honest ones.

python -m bench.judgement --data-dir data

Images are the test part of the bundle's data set, which the index has not seen. An attacker who knows all of this, and sends
what the judge would pass, is not among these: nothing here bounds what such a one can do. Slow poison is aimed at one image at
a time; its images are changed copies, each different enough to be no near-duplicate.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.table import Table

from bench.harness.report import run_benchmark, write_json
from holdfast.bundle.reader import Bundle
from holdfast.console import Console
from holdfast.evaluation import unseen_images
from holdfast.intervals import Rate
from holdfast.model.answers import Answers, Floats, Ints
from holdfast.model.classifier import Retrieval
from holdfast.model.preprocess import Pixels
from holdfast.model.retrieval.base import SPARE, Bank, bank_of
from holdfast.model.retrieval.live import Changes, LiveIndex
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.store.judging.judge import NeighbourJudge
from holdfast.server.store.records import JudgedRows

FIRST_ID = 1 << 40
BATCH = 20


@dataclass(frozen=True)
class JudgementBench:
    """Add honest and poisoned exemplars to a bundle's index, and count what the judge holds back."""

    bundle: Path = Path("bundles/cifar10-small")
    """A bundle and its data set's images."""

    data_dir: Path | None = None
    """Directory of the data set, where it is not the usual one."""

    images: int = 600
    """Unseen images that are added, honestly or with a wrong label."""

    recent: int = 500
    """Other unseen images, whose answers are the recent ones."""

    targets: int = 10
    """Images at which slow poison is aimed, of those that are answered rightly and without doubt."""

    poison: int = 60
    """Exemplars that are sent for each target, one a call."""

    seed: int = 0
    """Of everything random."""

    json: Path | None = None
    """A file to write the numbers to."""


@dataclass(frozen=True)
class Unseen:
    """Images that the index has not seen, and the model.

    Attributes:
        snapshot: what is served at first.
        embed: the encoder.
        recent: the answers to the images that were asked lately.
        asked, asked_labels: those images uint8 [M, H, W, C], and their labels.
        images, labels: those that are added, uint8 [N, H, W, C].
        embeddings: theirs, float32 [N, D].

    """

    snapshot: ModelSnapshot
    embed: Callable[[Pixels], Floats]
    recent: Answers
    asked: Pixels
    asked_labels: Ints
    images: Pixels
    labels: Ints
    embeddings: Floats


class JudgedIndex:
    """An index that grows, and the judge before it."""

    def __init__(self, snapshot: ModelSnapshot, recent: Answers | None, *, judged: bool = True) -> None:
        self.snapshot, self.recent, self.judged = snapshot, recent, judged
        self.judge, self.next_id = NeighbourJudge(), FIRST_ID
        self.by_change = 0  # held back for what they change of recent answers
        counts = np.bincount(bank_of(snapshot.classifier.retriever).labels)
        self.counts = np.concatenate([counts, np.zeros(100, np.int64)])

    def add(self, embeddings: Floats, labels: Ints) -> NDArray[np.bool_]:
        """Add rows as one call does; which were held back: bool [n]."""
        ids = np.arange(self.next_id, self.next_id + len(labels))
        self.next_id += len(labels)
        verdicts = (
            self.judge(JudgedRows(embeddings, labels, ids, self.counts[labels]), self.snapshot, self.recent)
            if self.judged
            else []
        )
        self.by_change += sum("recent answers" in each.reason for each in verdicts)
        held = np.array([each.quarantine for each in verdicts] or [False] * len(labels))
        np.add.at(self.counts, labels[~held], 1)
        self.snapshot = grown(self.snapshot, Changes(added=Bank(embeddings[~held], ids[~held], labels[~held])))
        return held


def grown(snapshot: ModelSnapshot, changes: Changes, classes: int = 0) -> ModelSnapshot:
    """The model after a change of its index."""
    index, model = snapshot.classifier.retriever, snapshot.description
    live = (index if isinstance(index, LiveIndex) else LiveIndex.over(index)).with_changes(changes)
    most = max(classes, len(model.class_names), int(changes.added.labels.max(initial=0)) + 1 if changes.added else 0)
    names = (*model.class_names, *(f"new {n}" for n in range(len(model.class_names), most)))
    described = model.model_copy(update={"class_names": names, "exemplars": live.size})
    return replace(snapshot, description=described, classifier=snapshot.classifier.with_index(live, most, None))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    config = tyro.cli(JudgementBench, args=arguments, prog="python -m bench.judgement")
    return run_benchmark(lambda: run(config))


def run(config: JudgementBench) -> int:
    """Measure each kind of exemplar, and print the table."""
    unseen, rng = unseen_of(config), np.random.default_rng(config.seed)
    table = Table("exemplars", "held back", "and then", title=f"judged before they count: {unseen.snapshot.description.name}")
    results: dict[str, object] = {}
    for name, held, then in measured(unseen, config, rng):
        results[name] = {"held": int(held.sum()), "of": len(held), "then": then}
        table.add_row(name, str(Rate(int(held.sum()), len(held))), then)
    Console().print(table)
    if config.json is not None:
        write_json(config.json, "judgement", results)
    return 0


def unseen_of(config: JudgementBench) -> Unseen:
    """The bundle, and images of its data set."""
    bundle = Bundle.open(config.bundle)
    snapshot = grown(ModelSnapshot.of(bundle, 1), Changes())
    test = unseen_images(bundle.manifest, config.data_dir)
    order = np.random.default_rng(config.seed).permutation(len(test.labels))
    asked, sent = order[: config.recent], order[config.recent :][: config.images]
    return Unseen(
        snapshot,
        bundle.encoder.embed,
        snapshot.decide(snapshot.retrieve(test.images[asked])).answers,
        test.images[asked],
        test.labels[asked],
        test.images[sent],
        test.labels[sent],
        bundle.encoder.embed(test.images[sent]),
    )


def measured(unseen: Unseen, config: JudgementBench, rng: np.random.Generator) -> Iterator[tuple[str, NDArray[np.bool_], str]]:
    """Each kind of exemplar: its name, which were held back, and what became of it."""
    labels, classes = unseen.labels, len(unseen.snapshot.description.class_names)
    yield "honest", *added(unseen, labels)
    yield "labels flipped at random", *added(unseen, (labels + rng.integers(1, classes, len(labels))) % classes)
    yield "labels flipped to the runner-up", *added(unseen, runner_up(unseen.snapshot, unseen.embeddings, labels))
    yield "bursts: 20 copies with noise of 4 levels", bursts(unseen, rng), ""
    for name, held in new_classes(unseen.snapshot, unseen.embeddings, labels):
        yield name, held, ""
    yield from slow_poison(unseen, config, rng)


def added(unseen: Unseen, labels: Ints) -> tuple[NDArray[np.bool_], str]:
    """Which of the images are held back under these labels, in calls of BATCH; and how many for what they change."""
    index = JudgedIndex(unseen.snapshot, unseen.recent)
    parts = [slice(start, start + BATCH) for start in range(0, len(labels), BATCH)]
    held = np.concatenate([index.add(unseen.embeddings[part], labels[part]) for part in parts])
    return held, f"{index.by_change} for what they change of recent answers"


def runner_up(snapshot: ModelSnapshot, embeddings: Floats, labels: Ints) -> Ints:
    """The label with most votes but the true one, which an attacker would take who knows the index."""
    shares = np.concatenate([votes_of(snapshot, embeddings[start : start + BATCH]) for start in range(0, len(labels), BATCH)])
    shares[np.arange(len(labels)), labels] = -1
    best: Ints = shares.argmax(axis=1)
    return best


def votes_of(snapshot: ModelSnapshot, embeddings: Floats) -> Floats:
    """Shares of the vote: [n, C]."""
    return answers_of(snapshot, embeddings).probabilities.copy()


def answers_of(snapshot: ModelSnapshot, embeddings: Floats) -> Answers:
    """Answers to images by their embeddings."""
    found = snapshot.classifier.retriever.search(embeddings, snapshot.description.vote.k + SPARE)
    return snapshot.decide(Retrieval(embeddings, found)).answers


def bursts(unseen: Unseen, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Copies of one image with small noise, under its own label, in one call each."""
    held = []
    for image, label in zip(unseen.images[:20], unseen.labels[:20], strict=True):
        noise = rng.integers(-4, 5, (20, *image.shape))
        copies = np.clip(image.astype(np.int16) + noise, 0, 255).astype(np.uint8)
        held.append(JudgedIndex(unseen.snapshot, unseen.recent).add(unseen.embed(copies), np.full(20, label)))
    return np.concatenate(held)


def new_classes(snapshot: ModelSnapshot, embeddings: Floats, labels: Ints) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """A class taken out of the index and added anew, BATCH images in one call; and one that is there under another name."""
    bank, count = bank_of(snapshot.classifier.retriever), len(snapshot.description.class_names)
    new, twice = [], []
    for label in range(count):
        rows = embeddings[labels == label][:BATCH]
        without = grown(snapshot, Changes(deleted=np.sort(bank.ids[bank.labels == label])))
        new.append(JudgedIndex(without, None).add(rows, np.full(len(rows), label)))
        twice.append(JudgedIndex(snapshot, None).add(rows, np.full(len(rows), count)))
    yield f"a new class, {BATCH} images at once", np.concatenate(new)
    yield "a class that is there, under a new name", np.concatenate(twice)


def slow_poison(
    unseen: Unseen, config: JudgementBench, rng: np.random.Generator
) -> Iterator[tuple[str, NDArray[np.bool_], str]]:
    """Changed copies of an image, labelled as the runner-up, one a call; whether the answer to the image itself changes."""
    recent, snapshot = unseen.recent, unseen.snapshot
    sure = np.flatnonzero((recent.labels == unseen.asked_labels) & (recent.credibility > 0.5))[: config.targets]
    for name, judged in (("slow poison", True), ("slow poison, nothing judged", False)):
        held: list[NDArray[np.bool_]] = []
        flipped = 0
        for row in sure:
            target, label = recent.embeddings[row : row + 1], unseen.asked_labels[row : row + 1]
            wrong, index = runner_up(snapshot, target, label), JudgedIndex(snapshot, recent, judged=judged)
            copies = changed_copies(unseen.asked[row], config.poison, rng)
            held.extend(index.add(unseen.embed(copy[np.newaxis]), wrong) for copy in copies)
            flipped += int(answers_of(index.snapshot, target).labels[0] != label[0])
        yield name, np.concatenate(held), f"{flipped} of {len(sure)} targets are answered otherwise"


def changed_copies(image: Pixels, count: int, rng: np.random.Generator) -> Iterator[Pixels]:
    """The image mirrored or not, moved by up to 3 pixels, brighter or darker, with noise of 12 levels."""
    for _ in range(count):
        moved = np.roll(image[:, :: rng.choice([-1, 1])], rng.integers(-3, 4, 2), axis=(0, 1)).astype(np.float32)
        yield np.clip(moved * rng.uniform(0.7, 1.3) + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
