"""From what was measured to the report."""

import numpy as np
import torch

from holdfast.bundle.reader import Bundle
from holdfast.evaluation.report.provenance import provenance_of, subject_of
from holdfast.evaluation.report.results import Measured
from holdfast.evaluation.speech.conditions import CLEAN, NOISY
from holdfast.evaluation.speech.errors import error_curves
from holdfast.evaluation.speech.measure import Bits, SpeechMeasures, rate_of
from holdfast.evaluation.speech.report.results import (
    ConditionResult,
    ErrorPoint,
    SpeakerResult,
    SpeechReport,
    VerificationResult,
)
from holdfast.evaluation.speech.trials import TrialScores

POINTS = 200
"""Of a curve of errors, at most."""


def speech_report(measured: SpeechMeasures, bundle: Bundle, command: str, seconds: float, seed: int = 0) -> SpeechReport:
    """The report of `measured`, which is of `bundle`; for the other arguments see `provenance_of`."""
    calibration = bundle.manifest.calibration
    return SpeechReport(
        subject=subject_of(bundle),
        provenance=provenance_of(command, seed, seconds, torch.device("cpu"), str(bundle.placement.device)),
        augmentations=bundle.manifest.trained.augmentations,
        recordings=len(measured.truth),
        conditions=tuple(_condition(measured, name) for name in measured.asked),
        verification=tuple(_verification(name, scores, measured.pairs) for name, scores in measured.trials.items()),
        unknown_above=None if calibration is None else calibration.unknown_above,
        let_in=None if measured.let_in is None else Measured.of(measured.let_in),
        speakers=tuple(_speaker(measured, bundle, label) for label in np.unique(measured.truth).tolist()),
    )


def _share(which: Bits) -> Measured:
    return Measured.of(rate_of(which))


def _condition(measured: SpeechMeasures, name: str) -> ConditionResult:
    asked, (noise, decibels) = measured.asked[name], NOISY.get(name, (None, None))
    return ConditionResult(
        name=name,
        noise=noise,
        decibels=decibels,
        identified=Measured.of(measured.identified[name]),
        answered=Measured.of(measured.answered[name]),
        wrong=_share(~asked.abstain & (asked.labels != measured.truth)),
        flips=Measured.of(measured.flips[name]) if name in NOISY else None,
    )


def _verification(name: str, scores: TrialScores, pairs: int) -> VerificationResult:
    misses, alarms = error_curves(scores.targets, scores.others)
    chosen = np.unique(np.linspace(0, len(misses) - 1, min(POINTS, len(misses))).round().astype(int))
    low, high = scores.interval()
    return VerificationResult(
        condition=name,
        pairs=pairs,
        equal_error_rate=scores.equal_error_rate,
        low=low,
        high=high,
        least_cost=scores.least_cost,
        points=tuple(ErrorPoint(misses=float(misses[i]), false_alarms=float(alarms[i])) for i in chosen),
    )


def _speaker(measured: SpeechMeasures, bundle: Bundle, label: int) -> SpeakerResult:
    own, clean = measured.truth == label, measured.asked[CLEAN]
    return SpeakerResult(
        name=bundle.class_names[label],
        exemplars=int((bundle.exemplars.labels == label).sum()),
        identified=_share(clean.labels[own] == label),
        answered=_share(~clean.abstain[own]),
        let_in=None if measured.strangers is None else _share(measured.strangers[own]),
    )
