"""What a full evaluation leaves in a bundle: report/report.json, in a schema with a version.

A change of the schema needs a new version and a step in `migrations`: reports of every earlier version are read. Fractions
are in [0, 1], epsilons in pixels of [0, 1], times in seconds. Nothing here is computed; that is done by the modules beside
this one.
"""

from typing import Literal, Self

from pydantic import Field

from holdfast.bundle.threat_model import ThreatModel
from holdfast.evaluation.plan import in_order
from holdfast.evaluation.report.parts.attacks import Curve, CurvePoint, SanityCheck, ThreatResult
from holdfast.evaluation.report.parts.base import AttackResult, Measured, ReportPart
from holdfast.evaluation.report.parts.hardening import HardenedIndex, PairedAccuracy
from holdfast.evaluation.report.parts.judgements import (
    AimedThreat,
    Bin,
    DetectorResult,
    PredictionSets,
    Ranking,
    RankingPoint,
    RocPoint,
    Selective,
    SelectivePoint,
    SetResult,
    ValidityPoint,
)
from holdfast.evaluation.report.parts.shifts import ShiftResult

__all__ = [
    "REPORT_VERSION",
    "AimedThreat",
    "AttackResult",
    "Bin",
    "ClassResult",
    "Cloud",
    "Curve",
    "CurvePoint",
    "DetectorResult",
    "Example",
    "HardenedIndex",
    "Measured",
    "Neighbour",
    "PairedAccuracy",
    "PredictionSets",
    "Provenance",
    "Ranking",
    "RankingPoint",
    "Report",
    "ReportPart",
    "RocPoint",
    "SanityCheck",
    "Selective",
    "SelectivePoint",
    "SetResult",
    "ShiftResult",
    "Subject",
    "ThreatResult",
    "TrainingCurve",
    "ValidityPoint",
]

REPORT_VERSION: Literal[6] = 6


class ClassResult(ReportPart):
    """One class of the test set, clean.

    Attributes:
        label: of the class.
        exemplars: in the index.
        accuracy: its images that are answered rightly.
        coverage: its images that the server does not abstain from.
        precise: of the images answered as this class without abstention, those that are of it.

    """

    label: int
    exemplars: int
    accuracy: Measured
    coverage: Measured
    precise: Measured


class Neighbour(ReportPart):
    """One exemplar near an image."""

    exemplar: int = Field(description="id in the index")
    label: int
    similarity: float


class Example(ReportPart):
    """An attacked image with its neighbours before and after. Images are PNG files in base64."""

    image: int = Field(description="row in the test set")
    label: int
    clean_answer: int
    attacked_answer: int
    clean_credibility: float | None
    attacked_credibility: float | None
    found_by: str
    threat: str
    clean_png: str | None = Field(description="null where the images may not travel with the report")
    attacked_png: str | None
    difference_png: str = Field(description="attacked less clean, stretched to the full range around grey")
    clean_neighbours: tuple[Neighbour, ...]
    attacked_neighbours: tuple[Neighbour, ...]
    neighbour_pngs: dict[int, str] = Field(description="exemplar id -> PNG, where the data set is at hand")


class Cloud(ReportPart):
    """Clean and attacked embeddings on the first two principal components of the clean ones."""

    explained: tuple[float, float] = Field(description="shares of the variance")
    threat: str
    labels: tuple[int, ...]
    clean: tuple[tuple[float, float], ...]
    attacked: tuple[tuple[float, float], ...]
    fooled: tuple[bool, ...]


class TrainingCurve(ReportPart):
    """One stage of log.csv, thinned to a few hundred points; None where a value was not written, or not finite."""

    stage: str
    steps: tuple[int, ...]
    seconds: tuple[float, ...]
    values: dict[str, tuple[float | None, ...]]


class Subject(ReportPart):
    """What was evaluated."""

    name: str
    encoder: str
    objective: str
    training_command: str
    training_seconds: float
    training_commit: str
    parameters: int
    encoder_bytes: int
    index_bytes: int
    encoder_sha256: str
    index_sha256: str
    embedding_dim: int
    exemplars: int
    vote: str = Field(description="k, weighting and temperature, as a person reads them")
    class_names: tuple[str, ...]
    data: str
    data_sha256: str
    training_seed: int | None = None
    index_command: str = ""
    abstain_below: float | None = Field(default=None, description="credibility below which the server abstains")


class Provenance(ReportPart):
    """How it was evaluated."""

    command: str
    commit: str
    seed: int
    created: str
    seconds: float
    cpu: str
    cores: int
    memory_bytes: int
    accelerator: str = Field(description="of the attacks' gradients")
    served_on: str = Field(default="cpu", description="where the answers that decided were computed")
    versions: dict[str, str]


class Report(ReportPart):
    """The whole report."""

    report_version: Literal[6] = REPORT_VERSION
    subject: Subject
    provenance: Provenance
    clean: Measured = Field(description="accuracy on the whole test set")
    attacked_images: int
    threats: tuple[ThreatResult, ...]
    curves: tuple[Curve, ...]
    sanity_checks: tuple[SanityCheck, ...]
    detectors: tuple[DetectorResult, ...]
    selective: tuple[Selective, ...]
    aimed: tuple[AimedThreat, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    shifts: tuple[ShiftResult, ...] = Field(default=(), description="empty before version 6")
    sets: tuple[PredictionSets, ...] = ()
    hardened: HardenedIndex | None = Field(default=None, description="null where no exemplar is attacked; before version 5")
    reliability: tuple[Bin, ...]
    validity: tuple[ValidityPoint, ...] = ()
    classes: tuple[ClassResult, ...] = ()
    black_box: str = Field(default="", description="of a running server: what was attacked, and what was not known, for people")
    remeasured: str = Field(default="", description="what was measured again later, and what was not, for people")
    examples: tuple[Example, ...]
    cloud: Cloud | None
    training: tuple[TrainingCurve, ...]

    def without_pictures(self) -> Self:
        """The same report without any image of the data set, for a bundle that goes where these may not.

        What the attacks changed stays, as do labels, answers and neighbours.
        """
        bare: dict[str, object] = {"clean_png": None, "attacked_png": None, "neighbour_pngs": {}}
        return self.model_copy(update={"examples": tuple(example.model_copy(update=bare) for example in self.examples)})

    @property
    def balls(self) -> tuple[ThreatModel, ...]:
        """Within which the suites attacked, in the order of `holdfast.evaluation.plan.in_order`."""
        return in_order(ThreatModel(threat.norm, threat.epsilon) for threat in self.threats)

    @property
    def passed(self) -> bool:
        """Whether every sanity check passed; where none was made, nothing is passed."""
        return bool(self.sanity_checks) and all(check.passed for check in self.sanity_checks)
