"""Folding the changes of a journal into a bundle of the store's own: the next base."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.bundle.calibration_set import CalibrationSet
from holdfast.bundle.canary_set import CanarySet
from holdfast.bundle.exemplars import DIGEST_BYTES, Exemplars
from holdfast.bundle.manifest import IndexRecord, Manifest
from holdfast.bundle.reader import CANARY, EXEMPLARS, read_manifest
from holdfast.bundle.writer import BundleWriter
from holdfast.files import sync
from holdfast.model.answers import Ints, Neighbours
from holdfast.model.classifier import Classifier
from holdfast.model.credibility import Calibration, calibrate_retriever, wanted_coverage
from holdfast.model.retrieval.approximate.choice import choose_index
from holdfast.model.retrieval.base import Bank, Retriever, Rounding, bank_of, nearest
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.retrieval.table import StoredRetriever, retriever_kind, writers_of
from holdfast.model.vote import VoteParameters, vote
from holdfast.server.store.catalogue import BaseRows
from holdfast.server.store.errors import StoreError, StoreFullError
from holdfast.server.store.journal.creation import BUNDLES
from holdfast.server.store.journal.schema import StoredRow
from holdfast.server.store.served import ServedExemplars

AUDITED = 512
"""Exemplars whose neighbours are looked at: for the share of labels that they contradict, and for the recall of the index."""


@dataclass(frozen=True, eq=False)
class FoldedBase:
    """What is to be written.

    Attributes:
        source: the bundle whose encoder made the embeddings.
        bank: all exemplars that are served, by id.
        table: theirs.
        class_names: by label id.
        sequence: of the latest change in it.
        half: whether the index below keeps its embeddings as float16.
        next_id: of the next exemplar: those that were deleted had smaller ones.

    """

    source: Path
    bank: Bank
    table: Exemplars
    class_names: tuple[str, ...]
    sequence: int
    half: bool
    next_id: int

    @property
    def counts(self) -> Ints:
        """Exemplars of each class: int64 [C]."""
        return np.bincount(self.bank.labels, minlength=len(self.class_names))

    @classmethod
    def of(
        cls, source: Path, served: ServedExemplars, base: BaseRows, rows: Mapping[int, StoredRow], next_id: int
    ) -> "FoldedBase":
        """All exemplars that are served. Raises BundleError where the base cannot hand out its own."""
        bank = bank_of(served.index)
        order = np.argsort(bank.ids)
        bank = Bank(bank.embeddings[order], bank.ids[order], bank.labels[order])
        flags = np.zeros(len(bank.ids), dtype=np.uint8)
        sources: list[str] = []
        believed = None if base.table.believed is None else np.full(len(bank.ids), -1)
        digests, known_digests = np.zeros((len(bank.ids), DIGEST_BYTES), dtype=np.uint8), base.table.known_digests()
        for place, exemplar_id in enumerate(bank.ids.tolist()):
            known, row = rows.get(exemplar_id), base.row_of(exemplar_id)
            if row is None:
                sources.append("" if known is None else known.source)
            else:
                sources.append(base.table.sources[row])
                digests[place] = known_digests[row]
                flags[place] = base.table.flags[row] if known is None else 0  # a changed one was not audited
                if believed is not None and base.table.believed is not None and known is None:
                    believed[place] = base.table.believed[row]
        names: Any = sources  # any sequence of names is taken
        table = Exemplars(bank.ids, bank.labels, names, flags, digests, believed)
        below = served.index.base
        half = isinstance(below, Rounding) and below.half
        return cls(source, bank, table, served.class_names, served.sequence, half, next_id)


def clear_leftovers(directory: Path, base: str) -> None:
    """Remove bundles that a store does not stand on: of compactions that failed or were cut short, or that others followed."""
    for folder in (directory / BUNDLES).glob("*"):
        if folder.name != base:
            shutil.rmtree(folder, ignore_errors=True)


def write_base(folded: FoldedBase, held_out: CalibrationSet | None, target: Path, classifier: Classifier) -> None:
    """Write a bundle of what is served. It is written aside and appears by a rename, whole and durable.

    The encoder's files are linked, not copied, where the file system can. The index is of the same kind and precision, and is
    tuned on the held-out images where it can be. The canary is answered again, by the new index. What was measured with other
    exemplars is left out: accuracy and report.

    Args:
        folded: what to write.
        held_out: images to calibrate credibility on.
        target: the new bundle, which does not exist.
        classifier: has the encoder.

    Raises:
        StoreFullError: the disk does not take it.
        StoreError: an index of this kind cannot be written from here.

    """
    aside = target.with_name(f".{target.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        _write(folded, held_out, aside, classifier)
        aside.rename(target)
        sync(target.parent)
    except (OSError, RuntimeError) as error:  # the second is faiss's
        raise StoreFullError(f"{target} cannot be written, for its disk is full or fails: {error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def calibrated(
    index: Retriever, parameters: VoteParameters, held_out: CalibrationSet | None, classes: int, before: Calibration | None
) -> Calibration | None:
    """Credibility of an index by held-out images; None without any. Classes that have none rest on those of the others.

    What share of them is to be answered, and whether who is of none of the classes is to be known, is as it was `before`.
    """
    if held_out is None or not len(held_out):
        return None
    return calibrate_retriever(
        index,
        parameters,
        held_out.embeddings,
        held_out.labels,
        classes=classes,
        coverage=wanted_coverage(before),
        open_set=before is not None and before.unknown_above is not None,
    )


def _write(folded: FoldedBase, held_out: CalibrationSet | None, aside: Path, classifier: Classifier) -> None:
    manifest = read_manifest(folded.source)
    if retriever_kind(manifest.index_kind).remote:
        raise StoreError(f"an index of kind {manifest.index_kind!r} lies on another machine, and is not folded into a bundle")
    manifest = manifest.model_copy(update={"vote": manifest.vote.corrected(folded.counts)})
    index = _built(folded, manifest, held_out)
    writer = BundleWriter.create(aside)
    measured = {*manifest.index_files, EXEMPLARS, CANARY}
    for name in manifest.files:
        if name not in measured and not name.startswith("report/"):
            writer.add(name, _linking(folded.source / name))
    for name, write in writers_of(index).items():
        writer.add(name, write)
    writer.add(EXEMPLARS, folded.table.save)
    if CANARY in manifest.files:
        fresh = classifier.with_index(index, len(folded.class_names), None).with_vote(manifest.vote)
        writer.add(CANARY, CanarySet.load(folded.source / CANARY).recorded_again(fresh, folded.class_names).save)
    writer.commit(_changed(manifest, folded, index, held_out))
    for folder in (aside, *(path for path in aside.rglob("*") if path.is_dir())):
        sync(folder)


def _built(folded: FoldedBase, manifest: Manifest, held_out: CalibrationSet | None) -> StoredRetriever:
    """An index of the kind that the manifest names, tuned on the held-out images where there are any and it can be."""
    queries = folded.bank.embeddings[:0] if held_out is None else held_out.embeddings

    def answer(neighbours: Neighbours) -> Ints:
        return vote(neighbours.similarities, neighbours.labels, len(folded.class_names), manifest.vote).labels

    return choose_index(folded.bank, manifest.vote.k, queries, answer, kind=manifest.index_kind, half=folded.half).index


def _changed(manifest: Manifest, folded: FoldedBase, index: StoredRetriever, held_out: CalibrationSet | None) -> Manifest:
    record = IndexRecord(
        kind=manifest.index_kind,
        exemplars=len(folded.bank.ids),
        recall_at_k=_recall(index, folded.bank, manifest.vote.k),
        disagreement_ratio=_disagreement(index, folded.bank, manifest.vote.k),
        command=f"holdfast serve --store, after change {folded.sequence}",
        parameters=dict(index.parameters),
        next_id=folded.next_id,
    )
    calibration = calibrated(index, manifest.vote, held_out, len(folded.class_names), manifest.calibration)
    changes = {
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "class_names": folded.class_names,
        "index": record,
        "calibration": manifest.calibration if calibration is None else calibration,
        "accuracy": None,
    }
    return manifest.model_copy(update=changes)


def _linking(source: Path) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.unlink()
        try:
            os.link(source.resolve(), path)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, path)

    return write


def _sample(bank: Bank) -> Ints:
    return np.random.default_rng(0).permutation(len(bank.ids))[:AUDITED]


def _recall(index: Retriever, bank: Bank, k: int) -> float:
    """Share of the k nearest that the index finds, by the exact search, of a sample of its own exemplars."""
    if retriever_kind(index.kind).exact or not len(bank.ids):
        return 1.0
    queries = bank.embeddings[_sample(bank)]
    ours, exact = nearest(index, queries, k), nearest(FlatIndex.build(bank), queries, k)
    return float(np.mean([np.isin(theirs, found).mean() for theirs, found in zip(exact.ids, ours.ids, strict=True)]))


def _disagreement(index: Retriever, bank: Bank, k: int) -> float:
    """Share of a sample of exemplars whose own k nearest neighbours have another label, by plurality."""
    rows = _sample(bank)
    found = nearest(index, bank.embeddings[rows], k + 1)
    wrong = 0
    for row, ids, labels in zip(rows.tolist(), found.ids, found.labels, strict=True):
        others = labels[(ids != bank.ids[row]) & (ids >= 0)][:k]
        wrong += len(others) > 0 and int(np.bincount(others).argmax()) != int(bank.labels[row])
    return wrong / max(len(rows), 1)
