"""Which labels of a set are doubted, and what is done about it: flagged, changed to what is believed, or left out.

Two audits doubt. Neighbours do where the plurality of an exemplar's own k nearest has another label (Peri et al. 2019, arXiv
1909.13374). The training does where it left its targets beside the run, and has less than half of its belief in the label
(self-adaptive training: Huang et al. 2020, arXiv 2002.10319). Neither is a proof: both follow the majority, so a wrong label
that most images of its kind have alike is believed, and right ones beside it are doubted.
"""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.beliefs import BELIEFS, Beliefs
from holdfast.bundle.exemplars import Flag
from holdfast.bundle.manifest import DoubtedLabels, Manifest
from holdfast.bundle.sources import Sources
from holdfast.console import Console
from holdfast.data.streaming.training import TrainingSplits
from holdfast.files import write_atomically
from holdfast.index_build.audit import EXACT_ROWS, plurality_of_neighbours
from holdfast.index_build.cells import plurality_by_cells
from holdfast.index_build.finish import IndexRows, LabelCheck, refuse_unvotable
from holdfast.index_build.options import IndexBuildError, IndexOptions
from holdfast.index_build.streaming.embedding_file import EmbeddingFile
from holdfast.index_build.streaming.progress import progress
from holdfast.model.answers import Ints
from holdfast.model.retrieval.embeddings import StoredBank
from holdfast.model.retrieval.table import build_retriever

DOUBTED = "doubted.csv"
"""Beside the index, no file of the manifest: whose label is doubted, and what was done."""


def checked_labels(rows: IndexRows, manifest: Manifest, options: IndexOptions, beliefs: Ints | None = None) -> IndexRows:
    """The exemplars with their labels as the options want them.

    Args:
        rows: with the labels that were given; embeddings in a file are changed in place where some are left out.
        manifest: of the index to be, with its classes and its vote.
        options: whose labels, and what becomes of the doubted.
        beliefs: int64 [n], the class that the training believes in where it doubts the label of one of the first n rows, else
            -1; None where it left none. The others have their label from what it believes.

    Raises:
        IndexBuildError: the training's beliefs are asked for and there are none; or what is left cannot vote.

    """
    if options.labels == "adapted" and beliefs is None:
        raise IndexBuildError(
            f"--labels adapted needs the targets of a training on this set, {BELIEFS} beside the bundle, and there are none:"
            " train with targets that adapt (holdfast train digits-self-adaptive, or --help of another preset), or say"
            " --labels audited"
        )
    if beliefs is not None:
        beliefs = np.pad(beliefs, (0, len(rows.labels) - len(beliefs)), constant_values=-1)
    believed = _by_neighbours(rows, manifest, options) if options.labels == "audited" else beliefs
    if believed is None:
        return rows
    doubted = np.flatnonzero(believed >= 0)
    done = "flagged" if options.labels == "given" else "left out" if options.doubted == "drop" else "relabelled"
    record = DoubtedLabels(labels=options.labels, doubted=len(doubted), done=done)
    listing = _listing(rows, believed, doubted, manifest, done)
    if done == "left out":
        return _without(rows, np.flatnonzero(believed < 0), LabelCheck(record, listing), manifest)
    flags = rows.flags.copy()
    flags[doubted] |= np.uint8(Flag.DOUBTED)
    labels = np.where(believed >= 0, believed, rows.labels) if done == "relabelled" else rows.labels
    kept = believed if rows.believed is None else np.where(believed >= 0, believed, rows.believed)
    return replace(rows, labels=labels, flags=flags, believed=kept, check=LabelCheck(record, listing))


def beliefs_about(directory: Path, splits: TrainingSplits, *, quiet: bool) -> Ints | None:
    """What the run in `directory` believes of the training part of its set where it doubts the label: int64 [M], else -1.

    None where it left no beliefs, or where they are of another set, which is said.

    Raises:
        BundleError: the file is damaged.

    """
    beliefs = Beliefs.load(directory)
    if beliefs is None:
        return None
    count, classes = len(splits.train), len(splits.class_names)
    if beliefs.data_sha256 != splits.sha256 or len(beliefs) < count or beliefs.targets.shape[1] != classes:
        if not quiet:
            Console(stderr=True).print(f"{directory / BELIEFS} is of another set, and is not read")
        return None
    # Images without a label follow those of the training part.
    own = Beliefs(beliefs.targets[:count], beliefs.data_sha256)
    found: Ints = np.where(own.doubted(splits.train.labels), own.believed(), -1)
    return found


def leave_list(directory: Path, rows: IndexRows) -> None:
    """Write doubted.csv beside an index whose labels were checked; remove that of an earlier one else."""
    if rows.check is None or not rows.check.record.doubted:
        (directory / DOUBTED).unlink(missing_ok=True)
    else:
        write_atomically(directory / DOUBTED, rows.check.listing)


def _by_neighbours(rows: IndexRows, manifest: Manifest, options: IndexOptions) -> Ints:
    """The plurality of each exemplar's neighbours where it is not its label, else -1: int64 [M]."""
    bank = StoredBank(rows.embeddings, rows.ids, rows.labels)
    classes, k = len(manifest.class_names), manifest.vote.k
    with progress("auditing labels", len(rows.labels), quiet=options.quiet) as advance:
        if len(rows.labels) > EXACT_ROWS:
            agreed = plurality_by_cells(rows.embeddings, rows.labels, classes=classes, k=k, advance=advance)
        else:
            agreed = plurality_of_neighbours(build_retriever("flat", bank), bank, classes=classes, k=k, advance=advance)
    found: Ints = np.where(agreed != rows.labels, agreed, -1)
    return found


def _without(rows: IndexRows, kept: Ints, check: LabelCheck, manifest: Manifest) -> IndexRows:
    labels = rows.labels[kept]
    counts = np.bincount(labels, minlength=len(manifest.class_names))
    if empty := [name for name, count in zip(manifest.class_names, counts, strict=True) if not count]:
        raise IndexBuildError(
            f"without {check.record.doubted:,} doubted ones no exemplar of {empty[0]} is left: say --doubted relabel"
        )
    refuse_unvotable(labels, manifest.vote.k)
    embeddings = rows.embeddings
    if isinstance(embeddings, EmbeddingFile):
        embeddings.keep(kept)
    else:
        embeddings = embeddings[kept]
    sources = Sources.of(rows.sources[row] for row in kept.tolist())
    believed = None if rows.believed is None else rows.believed[kept]
    columns = {"ids": rows.ids[kept], "labels": labels, "flags": rows.flags[kept], "digests": rows.digests[kept]}
    return replace(rows, embeddings=embeddings, sources=sources, believed=believed, check=check, **columns)  # type: ignore[arg-type]


def _listing(rows: IndexRows, believed: Ints, doubted: NDArray[np.int64], manifest: Manifest, done: str) -> bytes:
    text = io.StringIO(newline="")
    write = csv.writer(text)
    write.writerow(("id", "source", "given", "believed", "done"))
    for row in doubted.tolist():
        names = manifest.class_names[rows.labels[row]], manifest.class_names[believed[row]]
        write.writerow((rows.ids[row], rows.sources[row], *names, done))
    return text.getvalue().encode(errors="backslashreplace")
