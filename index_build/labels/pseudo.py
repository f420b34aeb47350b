"""Exemplars whose label nobody gave: training images without one, of which classifier and neighbours say the same."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from holdfast.bundle.beliefs import Beliefs
from holdfast.bundle.exemplars import Flag
from holdfast.bundle.manifest import Manifest
from holdfast.data import Splits
from holdfast.data.labelled import joined
from holdfast.data.streamed import StreamedSplits
from holdfast.data.streaming.training import TrainingSplits
from holdfast.index_build.finish import IndexRows
from holdfast.index_build.options import IndexBuildError
from holdfast.model.answers import Floats, Ints
from holdfast.model.retrieval.base import Bank, nearest
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.vote import VoteParameters, vote

BLOCK = 4096  # images that are searched for at once


def with_candidates(directory: Path, splits: TrainingSplits, threshold: float) -> tuple[Splits, str]:
    """The set with the images that the classifier is sure of behind those of the training part, under its labels.

    Args:
        directory: of the run, which has left what its classifier says of its images.
        splits: the set that it was trained on.
        threshold: probability above which a class is taken as the label.

    Returns:
        The set, and a hash of it and of what was taken.

    Raises:
        IndexBuildError: the set is not in memory, or every image has a label, or no classifier was trained, or it was
            trained on another set.

    """
    if not isinstance(splits, Splits):
        raise IndexBuildError("--pseudo needs the whole set in memory: allow it by --memory GB")
    if splits.unlabelled is None:
        raise IndexBuildError("--pseudo takes images without a label as exemplars, and every training image has one")
    beliefs = Beliefs.load(directory)
    if beliefs is None:
        raise IndexBuildError(
            f"--pseudo asks what the classifier says of images without a label, and {directory} has no classifier: train with"
            " an objective that learns from few labels (ugan)"
        )
    count = len(splits.train)
    if beliefs.data_sha256 != splits.sha256 or len(beliefs) != count + len(splits.unlabelled):
        raise IndexBuildError(f"what the classifier in {directory} says is of other images: train again with holdfast train")
    sure = beliefs.targets[count:].max(axis=1) > threshold
    taken = splits.unlabelled.take(np.flatnonzero(sure))
    taken = replace(taken, labels=beliefs.believed()[count:][sure])
    digest = hashlib.sha256(f"{splits.sha256} {threshold}".encode() + taken.labels.astype("<i8").tobytes()).hexdigest()
    return replace(splits, train=joined([splits.train, taken])), digest


def confirmed(rows: IndexRows, splits: StreamedSplits, known: int, manifest: Manifest) -> tuple[IndexRows, StreamedSplits]:
    """The exemplars and their set without the candidates that the neighbours contradict; the others are marked.

    Args:
        rows: labelled images first, then candidates.
        splits: its training part has the same images.
        known: how many are labelled.
        manifest: has the classes and the vote.

    """
    embeddings = rows.embeddings[np.arange(len(rows.labels))]
    kept = agreed_rows(embeddings, rows.labels, known, len(manifest.class_names), manifest.vote)
    rows = rows.at(kept)
    rows.flags[known:] |= np.uint8(Flag.PSEUDO)
    return rows, replace(splits, train=splits.train.select(kept))


def agreed_rows(embeddings: Floats, labels: Ints, known: int, classes: int, parameters: VoteParameters) -> Ints:
    """The rows to be exemplars: int64 [n], all `known` ones, and of the others those whose neighbours say the same.

    Args:
        embeddings: float32 [M, D] of unit length: labelled images first, then candidates.
        labels: int64 [M], given or guessed.
        known: how many are labelled. They alone vote.
        classes: number of classes.
        parameters: the vote.

    """
    index = FlatIndex.build(Bank(embeddings[:known], np.arange(known), labels[:known]))
    agree = np.ones(len(labels), dtype=bool)
    for start in range(known, len(labels), BLOCK):
        rows = slice(start, min(start + BLOCK, len(labels)))
        found = nearest(index, embeddings[rows], parameters.k)
        agree[rows] = vote(found.similarities, found.labels, classes, parameters).labels == labels[rows]
    kept: Ints = np.flatnonzero(agree)
    return kept
