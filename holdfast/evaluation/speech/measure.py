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
from holdfast.evaluation.speech.conditions import CLEAN, CONDITIONS, NOISY, heard_in, noise_condition
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


@dataclass(frozen=True, eq=False)
class AskedRecordings:
    """Answers to n recordings: int64 [n] labels, bool [n] whether each abstains."""

    labels: Ints
    abstain: Bits


@dataclass(frozen=True, eq=False)
class SpeechMeasures:
    """What was measured of n recordings of the test part.

    Attributes:
        truth: int64 [n], whose voice each is, as the bundle numbers them.
        asked: answers by condition.
        trials: scores of trials across channels, clean and with babble.
        strangers: bool [n], whether each is answered where its speaker is not enrolled; None where the bundle has no threshold.
        pairs: trials of each kind.

    """

    truth: Ints
    asked: dict[str, AskedRecordings]
    trials: dict[str, TrialScores]
    strangers: Bits | None
    pairs: int

    @property
    def identified(self) -> dict[str, Rate]:
        """How often the label is right, abstentions counted as they are labelled, by condition."""
        return {name: rate_of(answers.labels == self.truth) for name, answers in self.asked.items()}

    @property
    def answered(self) -> dict[str, Rate]:
        """How often it is not abstained from, by condition."""
        return {name: rate_of(~answers.abstain) for name, answers in self.asked.items()}

    @property
    def flips(self) -> dict[str, Rate]:
        """How often the label is another one than for the clean recording, by noisy condition."""
        clean = self.asked[CLEAN].labels
        return {name: rate_of(self.asked[name].labels != clean) for name in NOISY}

    @property
    def equal_error_rates(self) -> dict[str, float]:
        """Of trials across channels, clean and with babble."""
        return {name: scores.equal_error_rate for name, scores in self.trials.items()}

    @property
    def let_in(self) -> Rate | None:
        """How often a recording of a speaker who is not enrolled is answered; None where the bundle has no threshold."""
        return None if self.strangers is None else rate_of(self.strangers)


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
    levels = {CLEAN: None, noise_condition(BABBLE): BABBLE}
    return SpeechMeasures(
        truth=truth,
        asked={each: _ask(classifier, heard_in(each, recordings, others)) for each in CONDITIONS},
        trials={name: _scores(bundle, recordings, truth, size, level) for name, level in levels.items()},
        strangers=_strangers(bundle, classifier, recordings, truth),
        pairs=size.pairs,
    )


def rate_of(bits: Bits) -> Rate:
    """How many of bool [n] are true."""
    return Rate(int(bits.sum()), len(bits))


def _others(recordings: Sequence[Samples], truth: Ints) -> list[list[Samples]]:
    """Of each recording those of other speakers, of whom babble is made."""
    by_speaker = {
        int(label): [one for one, of in zip(recordings, truth.tolist(), strict=True) if of != label]
        for label in np.unique(truth)
    }
    return [by_speaker[label] for label in truth.tolist()]


def _ask(classifier: Classifier, recordings: Sequence[Samples]) -> AskedRecordings:
    """All windows of all recordings in one batch; the windows of each vote together as in the server."""
    windows = [pictures(samples) for samples in recordings]
    answers = classifier.classify(np.concatenate(windows))
    ends = np.cumsum([len(each) for each in windows])
    parts = [slice(end - len(each), end) for each, end in zip(windows, ends.tolist(), strict=True)]
    labels = [int(answers.probabilities[part].mean(axis=0, dtype=np.float64).argmax()) for part in parts]
    abstain = [2 * int(answers.abstain[part].sum()) >= part.stop - part.start for part in parts]
    return AskedRecordings(np.array(labels), np.array(abstain))


def _scores(bundle: Bundle, recordings: Sequence[Samples], truth: Ints, size: TrialSize, babble: float | None) -> TrialScores:
    voices = [[one for one, of in zip(recordings, truth.tolist(), strict=True) if of == label] for label in np.unique(truth)]
    trials = draw_trials(voices, size, babble=babble)
    return TrialScores.of(trials, bundle.encoder.embed(trials.pictures))


def _strangers(bundle: Bundle, classifier: Classifier, recordings: Sequence[Samples], truth: Ints) -> Bits | None:
    """Whether each recording is answered where its speaker is not enrolled: bool [n].

    Each speaker in turn is nobody: their exemplars are left out, and the threshold is of the others' trials.
    """
    calibration = bundle.manifest.calibration
    if calibration is None or calibration.unknown_above is None:
        return None
    bank, held_out, vote = bank_of(bundle.index), bundle.calibration_set, bundle.manifest.vote
    answered = np.zeros(len(truth), np.bool_)
    for label in np.unique(truth).tolist():
        kept, held = bank.labels != label, held_out.labels != label
        index = FlatIndex.build(Bank(bank.embeddings[kept], bank.ids[kept], bank.labels[kept]))
        point = unknown_threshold(index, held_out.embeddings[held], held_out.labels[held], vote.k)
        threshold = calibration.unknown_above if point is None else point.threshold
        without = classifier.with_index(index, len(bundle.class_names), None).with_calibration(
            calibration.model_copy(update={"unknown_above": threshold})
        )
        own = [one for one, of in zip(recordings, truth.tolist(), strict=True) if of == label]
        answered[truth == label] = ~_ask(without, own).abstain
    return answered
