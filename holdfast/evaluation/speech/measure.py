"""What a bundle that listens is worth: who is known, in which conditions, and whether strangers are turned away.

Every recording of the test part is asked about with all of its windows, which vote together as they do in the server. Trials
across channels are as in `holdfast.evaluation.speech.trials`, of recordings of the test part. A stranger is a speaker of the
set whose exemplars are left out; the encoder may have learned from them, so that people whom it never heard are harder to tell.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.reader import Bundle
from holdfast.data.speech.listing import RecordingListing
from holdfast.data.speech.loading import samples_of
from holdfast.errors import HoldfastError
from holdfast.evaluation.speech.conditions import CLEAN, CONDITIONS, LEVELS, heard_in, noise_condition
from holdfast.evaluation.speech.trials import TrialScores, TrialSize, draw_trials
from holdfast.intervals import Rate
from holdfast.model.answers import Ints
from holdfast.model.classifier import Classifier
from holdfast.model.judgement.open_set import unknown_threshold
from holdfast.model.retrieval.base import Bank, bank_of
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.speech.pictures import Samples, pictures

BABBLE = 5.0
Bits = NDArray[np.bool_]


@dataclass(frozen=True)
class SpeechMeasures:
    """What was measured.

    Attributes:
        identified: how often the label is right, abstentions counted as they are labelled, by condition.
        answered: how often it is not abstained from, by condition.
        flips: how often the label is another one than for the clean recording, by level of noise.
        equal_error_rates: of trials across channels, clean and with babble.
        let_in: how often a recording of a speaker who is not enrolled is answered; None where the bundle has no threshold.
        trials: pairs of each kind.

    """

    identified: dict[str, Rate]
    answered: dict[str, Rate]
    flips: dict[str, Rate]
    equal_error_rates: dict[str, float]
    let_in: Rate | None
    trials: int


@dataclass(frozen=True, eq=False)
class _Asked:
    """Answers to recordings: int64 [n] labels, bool [n] whether each abstains."""

    labels: Ints
    abstain: Bits


def measure_speakers(
    bundle: Bundle, listing: RecordingListing, test: Ints, *, trials: TrialSize | None = None
) -> SpeechMeasures:
    """Measure a bundle on the test part of a set.

    Args:
        bundle: complete, and it listens.
        listing: of the set; its speakers are the bundle's classes.
        test: int64 [n], the rows of the listing that are the test part.
        trials: how many trials.

    Raises:
        HoldfastError: the bundle looks at images, the set has other speakers, or there is nothing to test.
        ImageError: a recording cannot be read.

    """
    if bundle.manifest.input.kind != "speech":
        raise HoldfastError(f"{bundle.directory} looks at images: holdfast evaluate measures it")
    if unknown := sorted(set(listing.class_names) - set(bundle.class_names)):
        raise HoldfastError(f"the set has a speaker {unknown[0]} whom the bundle does not know")
    if not len(test):
        raise HoldfastError("the set has no test recordings")
    size = TrialSize() if trials is None else trials
    recordings = [samples_of(listing.root / listing.names[row]) for row in test.tolist()]
    places = np.array([bundle.class_names.index(name) for name in listing.class_names])
    truth: Ints = places[listing.labels[test]]
    others = _others(recordings, truth)
    classifier = bundle.classifier()
    asked = {each: _ask(classifier, heard_in(each, recordings, others)) for each in CONDITIONS}
    clean = asked[CLEAN]
    return SpeechMeasures(
        identified={each: _rate(answers.labels == truth) for each, answers in asked.items()},
        answered={each: _rate(~answers.abstain) for each, answers in asked.items()},
        flips={each: _rate(asked[each].labels != clean.labels) for each in map(noise_condition, LEVELS)},
        equal_error_rates={
            name: _equal_error_rate(bundle, recordings, truth, size, level)
            for name, level in ((CLEAN, None), (noise_condition(BABBLE), BABBLE))
        },
        let_in=_let_in(bundle, classifier, recordings, truth),
        trials=size.pairs,
    )


def _rate(bits: Bits) -> Rate:
    return Rate(int(bits.sum()), len(bits))


def _others(recordings: Sequence[Samples], truth: Ints) -> list[list[Samples]]:
    """Of each recording those of other speakers, of whom babble is made."""
    by_speaker = {
        int(label): [one for one, of in zip(recordings, truth.tolist(), strict=True) if of != label]
        for label in np.unique(truth)
    }
    return [by_speaker[label] for label in truth.tolist()]


def _ask(classifier: Classifier, recordings: Sequence[Samples]) -> _Asked:
    """All windows of all recordings in one batch; the windows of each vote together as in the server."""
    windows = [pictures(samples) for samples in recordings]
    answers = classifier.classify(np.concatenate(windows))
    ends = np.cumsum([len(each) for each in windows])
    parts = [slice(end - len(each), end) for each, end in zip(windows, ends.tolist(), strict=True)]
    labels = [int(answers.probabilities[part].mean(axis=0, dtype=np.float64).argmax()) for part in parts]
    abstain = [2 * int(answers.abstain[part].sum()) >= part.stop - part.start for part in parts]
    return _Asked(np.array(labels), np.array(abstain))


def _equal_error_rate(
    bundle: Bundle, recordings: Sequence[Samples], truth: Ints, size: TrialSize, babble: float | None
) -> float:
    voices = [[one for one, of in zip(recordings, truth.tolist(), strict=True) if of == label] for label in np.unique(truth)]
    trials = draw_trials(voices, size, babble=babble)
    return TrialScores.of(trials, bundle.encoder.embed(trials.pictures)).equal_error_rate


def _let_in(bundle: Bundle, classifier: Classifier, recordings: Sequence[Samples], truth: Ints) -> Rate | None:
    """Each speaker in turn is nobody: their exemplars are left out, and the threshold is of the others' trials."""
    calibration = bundle.manifest.calibration
    if calibration is None or calibration.unknown_above is None:
        return None
    bank, held_out, vote = bank_of(bundle.index), bundle.calibration_set, bundle.manifest.vote
    answered = 0
    for label in np.unique(truth).tolist():
        kept, held = bank.labels != label, held_out.labels != label
        index = FlatIndex.build(Bank(bank.embeddings[kept], bank.ids[kept], bank.labels[kept]))
        point = unknown_threshold(index, held_out.embeddings[held], held_out.labels[held], vote.k)
        threshold = calibration.unknown_above if point is None else point.threshold
        without = classifier.with_index(index, len(bundle.class_names), None).with_calibration(
            calibration.model_copy(update={"unknown_above": threshold})
        )
        own = [one for one, of in zip(recordings, truth.tolist(), strict=True) if of == label]
        answered += int((~_ask(without, own).abstain).sum())
    return Rate(answered, len(truth))
