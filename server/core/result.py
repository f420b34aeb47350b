"""The answers to one batch, and each of them as what a reply needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import ImageError
from holdfast.model.answers import Answers
from holdfast.model.judgement.smoothing import SmoothedAnswer
from holdfast.server.core.description import ModelDescription
from holdfast.server.core.sources import NoSources, SourceLookup

AT_ONCE = 2**16
"""Shares of the vote in a batch whose answers are made at once: about two milliseconds on the event loop."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One exemplar that voted: its id and class, its cosine similarity to the image, and its source where that was wanted."""

    id: int
    label: int
    similarity: float
    source: str | None = None


class Answer(NamedTuple):
    """The answer to one image; the fields are those of holdfast.model.answers.Answers, as plain numbers."""

    label: int
    probabilities: list[float]
    credibility: float
    confidence: float
    abstain: bool
    soft_margin: float
    kth_distance: float
    kth_distance_p_value: float
    softmax_response: float
    poison_tolerance: int
    feature_shift: float
    batch: Answers
    sources: SourceLookup
    row: int

    @property
    def embedding(self) -> NDArray[np.float32]:
        """float32 [D], L2-normalised."""
        embedding: NDArray[np.float32] = self.batch.embeddings[self.row]
        return embedding

    def neighbours(self, count: int, *, sources: bool = False) -> list[Neighbour]:
        """The nearest exemplars, at most `count` and at most the k of the vote, nearest first; if wanted, with sources."""
        columns = self.neighbour_columns(count, sources=sources)
        return [Neighbour(*row) for row in zip(*columns, strict=True)]

    def neighbour_columns(self, count: int, *, sources: bool = False) -> list[list[Any]]:
        """The same as lists: of ids, labels and similarities, and if wanted of sources."""
        nearest = self.batch.neighbours
        # An approximate index may find fewer than k: what is missing has a negative id, and comes last.
        found = int((nearest.ids[self.row, :count] >= 0).sum())
        columns = [c[self.row, :found].tolist() for c in (nearest.ids, self.batch.neighbour_labels, nearest.similarities)]
        if sources:
            columns.append(self.sources.of(nearest.ids[self.row, :found]))
        return columns


class Result(NamedTuple):
    """What became of one call.

    Attributes:
        model: what answered, every image of the call.
        outcomes: of each image the answer, or what is wrong with it.
        smoothed: what the smoothed classifier answers to each image that is not wrong, in their order; empty where that was not
            asked for.

    """

    model: ModelDescription
    outcomes: list[Answer | ImageError]
    smoothed: Sequence[SmoothedAnswer] = ()


@cache
def row_type(classes: int) -> "np.dtype[np.void]":
    """One image's figures side by side: all of holdfast.model.answers.Answers but embedding and neighbours, by name."""
    return np.dtype(
        [
            ("labels", np.int64),
            ("probabilities", np.float32, (classes,)),
            ("credibility", np.float64),
            ("confidence", np.float64),
            ("abstain", np.bool_),
            ("soft_margin", np.float32),
            ("kth_distance", np.float32),
            ("kth_distance_p_value", np.float64),
            ("softmax_response", np.float32),
            ("poison_tolerance", np.int32),
            ("feature_shift", np.float64),
        ]
    )


class AnsweredBatch:
    """The answers to one batch, as arrays, and the model that gave them; in another form only where it is asked for."""

    def __init__(self, model: ModelDescription, answers: Answers, sources: SourceLookup | None = None) -> None:
        self.model, self.answers, self.sources = model, answers, sources or NoSources()

    def __len__(self) -> int:
        return len(self.answers.labels)

    @cached_property
    def rows(self) -> "NDArray[np.void]":
        """[N] of `row_type`: a call's figures are one slice of it, which another process can be sent."""
        rows = np.empty(len(self), row_type(self.answers.probabilities.shape[1]))
        for name in rows.dtype.names or ():
            rows[name] = getattr(self.answers, name)
        return rows

    @cached_property
    def one_by_one(self) -> Sequence[Answer]:
        """All answers: whole columns become lists at once, which is what makes it cheap."""
        return self._between(0, len(self))

    def between(self, start: int, stop: int) -> Sequence[Answer]:
        """The answers [start, stop): those of a whole batch are made at once, unless that would take milliseconds."""
        return self.one_by_one[start:stop] if self.answers.probabilities.size <= AT_ONCE else self._between(start, stop)

    def _between(self, start: int, stop: int) -> Sequence[Answer]:
        answers, rows = self.answers, range(start, stop)
        columns = (
            answers.labels,
            answers.probabilities,
            answers.credibility,
            answers.confidence,
            answers.abstain,
            answers.soft_margin,
            answers.kth_distance,
            answers.kth_distance_p_value,
            answers.softmax_response,
            answers.poison_tolerance,
            answers.feature_shift,
        )
        shared = repeat(answers, len(rows)), repeat(self.sources, len(rows))
        figures = (column[start:stop].tolist() for column in columns)
        return list(map(Answer._make, zip(*figures, *shared, rows, strict=True)))
