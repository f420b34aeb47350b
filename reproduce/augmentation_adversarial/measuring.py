"""Everything that is measured of an encoder: errors across channels, identification, and what a probe finds."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.data import Splits
from holdfast.data.listing.parts import Part
from holdfast.data.speech.listing import RecordingListing, list_digits
from holdfast.data.speech.loading import samples_of
from holdfast.evaluation.speech.conditions import CLEAN, REVERB, first_pictures, heard_in, noise_condition
from holdfast.evaluation.speech.trials import TrialScores, TrialSet, draw_trials
from holdfast.intervals.paired import Bits
from holdfast.model.images.pixels import Pixels
from holdfast.model.speech.pictures import Samples
from holdfast.model.vote import VoteParameters
from holdfast.trainer.encoders import ImageEncoder
from reproduce.augmentation_adversarial.probe import Probed, probe
from reproduce.augmentation_adversarial.scales import SpeechScale
from reproduce.embeddings import embed, neighbours_answers
from reproduce.kept_results import read, written

BABBLE = 5.0
"""Decibels of the voice above babble, in the noisy condition."""

NOISY = noise_condition(BABBLE)
VERIFIED = (CLEAN, NOISY)
IDENTIFIED = (CLEAN, NOISY, REVERB)
VOTE = VoteParameters(k=15)
Numbers = dict[str, Any]


@dataclass(frozen=True)
class SpeechArmFigures:
    """What was measured of one arm.

    Attributes:
        scores: of trials, by condition.
        right: which recordings of the test part were identified, bool [n], by condition.
        probed: what the probe says of held-out pairs.
        seconds: of training.

    """

    scores: dict[str, TrialScores]
    right: dict[str, Bits]
    probed: Probed
    seconds: float

    def to_json(self) -> Numbers:
        """As `KeptResults` keeps it."""
        scores = {
            condition: {
                "targets": np.round(each.targets, 5).tolist(),
                "target_speakers": each.target_speakers.tolist(),
                "others": np.round(each.others, 5).tolist(),
                "other_speakers": each.other_speakers.tolist(),
            }
            for condition, each in self.scores.items()
        }
        probed = {"right": written(self.probed.right), "sessions": self.probed.sessions.tolist()}
        right = {condition: written(bits) for condition, bits in self.right.items()}
        return {"scores": scores, "right": right, "probed": probed, "seconds": self.seconds}

    @classmethod
    def from_json(cls, kept: Numbers) -> "SpeechArmFigures":
        """Inverse of `to_json`."""
        scores = {
            condition: TrialScores(
                np.array(each["targets"], np.float32),
                np.array(each["target_speakers"], np.int64),
                np.array(each["others"], np.float32),
                np.array(each["other_speakers"], np.int64),
            )
            for condition, each in kept["scores"].items()
        }
        probed = Probed(read(kept["probed"]["right"]), np.array(kept["probed"]["sessions"], np.int64))
        right = {condition: read(bits) for condition, bits in kept["right"].items()}
        return cls(scores, right, probed, float(kept["seconds"]))


class UnseenSpeakers:
    """Free spoken digits, which no arm has learned from: trials, exemplars and test recordings, made once.

    Args:
        directory: of the digits.
        scale: how many trials.

    """

    def __init__(self, directory: Path, scale: SpeechScale) -> None:
        self._directory, self._scale = directory, scale

    @cached_property
    def _listing(self) -> RecordingListing:
        return list_digits(self._directory)

    @property
    def speakers(self) -> int:
        """How many."""
        return len(self._listing.class_names)

    @cached_property
    def _samples(self) -> list[Samples]:
        return [samples_of(self._listing.root / name) for name in self._listing.names]

    def _of(self, part: Part, speaker: int | None = None) -> list[int]:
        chosen = self._listing.parts == part
        return np.flatnonzero(chosen if speaker is None else chosen & (self._listing.labels == speaker)).tolist()

    @cached_property
    def trials(self) -> dict[str, TrialSet]:
        """By condition, of all recordings but those of the test part."""
        voices = [[self._samples[row] for row in self._of(Part.TRAIN, speaker)] for speaker in range(self.speakers)]
        levels = {CLEAN: None, NOISY: BABBLE}
        return {condition: draw_trials(voices, self._scale.trials, babble=level) for condition, level in levels.items()}

    @cached_property
    def exemplars(self) -> tuple[Pixels, list[int]]:
        """Pictures of what is enrolled, and whose they are."""
        rows = self._of(Part.TRAIN)
        return first_pictures([self._samples[row] for row in rows]), self._listing.labels[rows].tolist()

    @cached_property
    def asked(self) -> dict[str, tuple[Pixels, list[int]]]:
        """Pictures of the test part in each condition, and whose they are."""
        rows = self._of(Part.TEST)
        recordings = [self._samples[row] for row in rows]
        labels: list[int] = self._listing.labels[rows].tolist()
        babble = {
            speaker: [self._samples[row] for row in self._of(Part.TRAIN) if self._listing.labels[row] != speaker]
            for speaker in range(self.speakers)
        }
        others = [babble[label] for label in labels]
        return {each: (first_pictures(heard_in(each, recordings, others)), labels) for each in IDENTIFIED}


def measure(
    encoder: ImageEncoder, unseen: UnseenSpeakers, bank: Splits, scale: SpeechScale, seconds: float
) -> SpeechArmFigures:
    """All figures of one encoder.

    Args:
        encoder: in evaluation mode.
        unseen: speakers that it has not learned from.
        bank: of sessions, whose test part it has not learned from either.
        scale: how large.
        seconds: that its training took.

    """
    scores = {each: TrialScores.of(trials, embed(encoder, trials.pictures)) for each, trials in unseen.trials.items()}
    pictured, labels = unseen.exemplars
    exemplars = embed(encoder, pictured)
    right = {}
    for condition, (asked, truth) in unseen.asked.items():
        answers = neighbours_answers(exemplars, np.array(labels), embed(encoder, asked), unseen.speakers, VOTE)
        right[condition] = answers == np.array(truth)
    probed = probe(embed(encoder, bank.train.images), embed(encoder, bank.test.images), steps=scale.probe_steps)
    return SpeechArmFigures(scores, right, probed, seconds)
