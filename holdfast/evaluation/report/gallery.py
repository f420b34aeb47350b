"""Attacked images with their neighbours before and after, for people to look at."""

import math

import numpy as np
from numpy.typing import NDArray

from holdfast.attacks.search.worst_case import AttackOutcome
from holdfast.bundle.exemplars import Exemplars, Flag
from holdfast.bundle.threat_model import ThreatModel
from holdfast.data import LabelledImages
from holdfast.evaluation.context import EvaluationContext
from holdfast.evaluation.report.pictures import difference, png
from holdfast.evaluation.report.results import Example, Neighbour
from holdfast.model.answers import Answers

COUNT = 12
SHOWN_NEIGHBOURS = 5


class ExemplarImages:
    """The images behind the exemplars, where the data set that they came from is at hand."""

    def __init__(self, exemplars: Exemplars, images: LabelledImages) -> None:
        rows = {source: row for row, source in enumerate(images.sources)}
        known = zip(exemplars.ids.tolist(), exemplars.sources.tolist(), exemplars.flags.tolist(), strict=True)
        # An attacked copy carries the source of what it was made from, but is another image: only unmarked ones are shown.
        self._rows = {number: rows[source] for number, source, flags in known if source in rows and not flags & Flag.ATTACKED}
        self._images = images.images

    def png(self, exemplar: int) -> str | None:
        """A PNG file in base64; none where the image is not there."""
        row = self._rows.get(exemplar)
        return None if row is None else png(self._images[row])


def choose(outcome: AttackOutcome, labels: NDArray[np.int64], count: int = COUNT) -> list[int]:
    """Rows to show: fooled and unfooled ones in about their true proportion, of as many classes as there are.

    Nothing is picked by eye: of each kind they are the first of each class, then the second. At least one is fooled, if
    any is.
    """
    held = np.flatnonzero((outcome.clean_labels == labels) & ~outcome.success)
    fooled = np.flatnonzero(outcome.success)
    share = len(fooled) / max(1, len(fooled) + len(held))
    wanted = min(len(fooled), max(1, round(count * share)))
    return [*_spread(fooled, labels)[:wanted], *_spread(held, labels)[: count - wanted]]


def examples(
    chosen: list[int], context: EvaluationContext, outcome: AttackOutcome, answers: tuple[Answers, Answers], threat: ThreatModel
) -> tuple[Example, ...]:
    """The chosen rows as the report shows them.

    Args:
        chosen: rows of the images that `context` attacks.
        context: who was attacked with what.
        outcome: of the attack.
        answers: served, to the clean images and to the attacked ones, N each.
        threat: within which they were attacked.

    """
    exemplars = ExemplarImages(context.bundle.exemplars, context.splits.train)
    shown = []
    for row in chosen:
        clean, attacked = context.images[row], outcome.adversarial[row]
        before, after = (_neighbours(answered, row) for answered in answers)
        pngs = {n.exemplar: exemplars.png(n.exemplar) for n in (*before, *after)}
        shown.append(
            Example(
                image=int(context.rows[row]),
                label=int(context.labels[row]),
                clean_answer=int(answers[0].labels[row]),
                attacked_answer=int(answers[1].labels[row]),
                clean_credibility=_number(answers[0].credibility[row]),
                attacked_credibility=_number(answers[1].credibility[row]),
                found_by=outcome.found_by[row],
                threat=str(threat),
                clean_png=png(clean),
                attacked_png=png(attacked),
                difference_png=png(difference(clean, attacked)),
                clean_neighbours=before,
                attacked_neighbours=after,
                neighbour_pngs={exemplar: picture for exemplar, picture in pngs.items() if picture is not None},
            )
        )
    return tuple(shown)


def _neighbours(answers: Answers, row: int) -> tuple[Neighbour, ...]:
    columns = answers.neighbours.ids[row], answers.neighbour_labels[row], answers.neighbours.similarities[row]
    nearest = zip(*(column[:SHOWN_NEIGHBOURS].tolist() for column in columns), strict=True)
    return tuple(
        Neighbour(exemplar=number, label=label, similarity=similarity) for number, label, similarity in nearest if number >= 0
    )


def _spread(rows: NDArray[np.int64], labels: NDArray[np.int64]) -> list[int]:
    """Rows in the order in which each class has its turn."""
    turn: dict[int, int] = {}
    keys = []
    for row in rows.tolist():
        label = int(labels[row])
        keys.append((turn.get(label, 0), label, row))
        turn[label] = turn.get(label, 0) + 1
    return [row for _, _, row in sorted(keys)]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
