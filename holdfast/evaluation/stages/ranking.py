"""How well what is said of answers tells right from wrong: clean, shifted, and against one who aims at it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from holdfast.evaluation.context import EvaluationContext
from holdfast.evaluation.report import auroc, ranked
from holdfast.evaluation.report.results import Ranking
from holdfast.evaluation.stages.detectors import AttackedDetector
from holdfast.evaluation.stages.shifts import SHIFTS
from holdfast.model.answers import Answers

Trust = NDArray[np.float64]


def measure_rankings(
    context: EvaluationContext, attacked: Sequence[AttackedDetector], clean: Answers, moved: Answers
) -> tuple[Ranking, ...]:
    """For every detector three rankings.

    Args:
        context: who is attacked with what.
        attacked: the detectors, each with what one who aims at it found.
        clean: answers to the whole test set.
        moved: answers to `shifted` of the images that are attacked.

    """
    if not attacked:
        return ()
    truth = context.splits.test.labels
    rankings = []
    for each in attacked:
        name, score, found = each.detector.name, each.detector.score, each.aimed.outcome
        usual = -score(clean)
        here = usual[context.rows][: len(found.wrong)]
        threat = each.aimed.plain.case.threat
        rankings += [
            _ranking(name, "clean", usual, clean.labels == truth),
            _ranking(name, "shifted", -score(moved), moved.labels == np.tile(context.labels, len(SHIFTS))),
            _ranking(name, f"attacked, {threat}", np.where(found.wrong, -found.suspicion, here), ~found.wrong),
        ]
    return tuple(rankings)


def _ranking(judgement: str, condition: str, trust: Trust, right: NDArray[np.bool_]) -> Ranking:
    return Ranking(
        judgement=judgement,
        condition=condition,
        images=len(right),
        errors=int((~right).sum()),
        auroc=auroc(trust[right], trust[~right]),
        points=ranked(trust, right),
    )
