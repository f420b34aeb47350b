"""The report of a bundle that listens, in a schema with a version. Fractions are in [0, 1], times in seconds."""

from typing import Literal

from pydantic import Field

from holdfast.evaluation.report.results import Measured, Provenance, ReportPart, Subject

SPEECH_REPORT_VERSION: Literal["speech 1"] = "speech 1"


class ConditionResult(ReportPart):
    """The test recordings as they are heard in one condition.

    Attributes:
        name: for instance "babble 10 dB".
        noise: kind of the noise; null where there is none.
        decibels: of the voice above the noise; null likewise.
        identified: recordings whose label is right, those counted that are abstained from.
        answered: recordings that are not abstained from.
        wrong: of all, those that are answered and wrong.
        flips: of noisy ones, those of another label than the clean recording has; null for others.

    """

    name: str
    noise: str | None
    decibels: float | None
    identified: Measured
    answered: Measured
    wrong: Measured
    flips: Measured | None


class ErrorPoint(ReportPart):
    """Verification at one threshold."""

    misses: float = Field(description="of trials of one speaker, those that are rejected")
    false_alarms: float = Field(description="of trials of two speakers, those that are accepted")


class VerificationResult(ReportPart):
    """Trials across channels: one speaker in two, and two speakers in one.

    Attributes:
        condition: clean, or with babble.
        pairs: of each kind.
        equal_error_rate: where misses and false alarms are equal.
        low, high: its 95 % percentile interval, by the bootstrap over speakers.
        least_cost: the least detection cost, over what it costs to answer without listening.
        points: thinned, the lowest threshold first.

    """

    condition: str
    pairs: int
    equal_error_rate: float
    low: float
    high: float
    least_cost: float
    points: tuple[ErrorPoint, ...]


class SpeakerResult(ReportPart):
    """One speaker, clean.

    Attributes:
        name: of the speaker.
        exemplars: windows that are enrolled.
        identified: of the speaker's recordings.
        answered: likewise.
        let_in: of the speaker's recordings, those that are answered where none of the speaker is enrolled; null where the
            bundle turns nobody away.

    """

    name: str
    exemplars: int
    identified: Measured
    answered: Measured
    let_in: Measured | None


class SpeechReport(ReportPart):
    """The whole report of a bundle that listens."""

    report_version: Literal["speech 1"] = SPEECH_REPORT_VERSION
    subject: Subject
    provenance: Provenance
    augmentations: str = Field(description="what the recordings learned from were heard in; empty for nothing")
    recordings: int
    conditions: tuple[ConditionResult, ...]
    verification: tuple[VerificationResult, ...]
    unknown_above: float | None = Field(description="distance of the k-th neighbour from which an answer abstains")
    let_in: Measured | None
    speakers: tuple[SpeakerResult, ...]
