"""Answers to images under shifts that nobody made on purpose: noise, light, rotation, other cameras; see `stages.shifts`."""

import numpy as np
from numpy.typing import NDArray

from holdfast.evaluation.context import EvaluationContext
from holdfast.evaluation.report.parts.shifts import ShiftResult
from holdfast.evaluation.report.results import Measured
from holdfast.evaluation.stages.shifts import CAMERAS, MOVES, SHIFTS, camera
from holdfast.evaluation.victim import answers_of, answers_to_all, certified
from holdfast.intervals import Rate
from holdfast.model.answers import Answers, Ints

Bits = NDArray[np.bool_]


def answer_shifted(context: EvaluationContext) -> Answers:
    """Answers to the images that are attacked, [5 N]: all under the first of SHIFTS, then all under the second."""
    return answers_to_all(certified(context.classifier), (shift(context.images) for shift in SHIFTS))


def measure_shifts(context: EvaluationContext, moved: Answers) -> tuple[ShiftResult, ...]:
    """The images that are attacked, clean, under each of SHIFTS and MOVES, and as CAMERAS other cameras would have taken them.

    Args:
        context: whose they are.
        moved: of `answer_shifted`.

    """
    clean = answers_of(context.classifier.classify, context.images)
    before, truth = clean.labels, context.labels
    taken = [answers_of(context.classifier.classify, camera(context.images, seed)) for seed in range(CAMERAS)]
    labels = [moved.labels.reshape(len(SHIFTS), -1), moved.abstain.reshape(len(SHIFTS), -1)]
    results = [_result("clean", before, clean.abstain, before, truth)]
    for number, shift in enumerate(SHIFTS):
        results.append(_result(shift.__name__, labels[0][number], labels[1][number], before, truth))
    for move in MOVES:
        answers = answers_of(context.classifier.classify, move(context.images))
        results.append(_result(move.__name__, answers.labels, answers.abstain, before, truth))
    cameras = np.concatenate([each.labels for each in taken]), np.concatenate([each.abstain for each in taken])
    return (*results, _result("another camera", *cameras, np.tile(before, CAMERAS), np.tile(truth, CAMERAS)))


def _result(name: str, labels: Ints, abstain: Bits, before: Ints, truth: Ints) -> ShiftResult:
    wrong = labels != truth
    return ShiftResult(
        name=name,
        accuracy=_share(~wrong),
        answered=_share(~abstain),
        wrong=_share(wrong & ~abstain),
        flips=_share(labels != before),
    )


def _share(which: Bits) -> Measured:
    return Measured.of(Rate(int(which.sum()), len(which)))
