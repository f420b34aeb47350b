"""What an evaluation measured. The quick table, the report and the manifest's record are made from it."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.attacks.search.worst_case import AttackOutcome
from holdfast.bundle.manifest import Accuracy
from holdfast.bundle.threat_model import ThreatModel
from holdfast.evaluation.plan import EvaluationPlan
from holdfast.evaluation.report.beyond import with_beyond
from holdfast.evaluation.report.results import (
    AimedThreat,
    Cloud,
    Curve,
    Example,
    HardenedIndex,
    PredictionSets,
    Provenance,
    Ranking,
    Report,
    SanityCheck,
    ShiftResult,
    Subject,
    ThreatResult,
    TrainingCurve,
)
from holdfast.evaluation.report.words import attacks
from holdfast.evaluation.report.writing import DATA
from holdfast.evaluation.stages.aimed import AimedResult
from holdfast.evaluation.stages.answers import CredibilityResult
from holdfast.evaluation.stages.detectors import AttackedDetector
from holdfast.evaluation.stages.threats import CaseResult
from holdfast.intervals import Rate
from holdfast.model.encoder.device import CPU, Placement
from holdfast.model.preprocess import Pixels


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured on N attacked test images. Sections that the plan leaves out are empty.

    Attributes:
        plan: what was done.
        rows: int64 [N], those of the images in the test set.
        images: uint8 [N, H, W, 3], the clean ones.
        labels: int64 [N], their true classes.
        cases: what came of every ball and attacker, in the order of the plan.
        shown: the case that the table and the pictures are of.
        own: the case of the bundle's own ball, its bank known; None where that was not attacked.
        seconds: wall time, interrupted runs included.
        served_on: where the answers were computed that decided.
        agreement: how often the surrogate at the bundle's temperature gives the served answer, on clean images; a
            surrogate that disagrees is not of this classifier. Of no trial where the plan leaves it out.
        credibility: what it is worth, and accuracy on the whole test set.
        curves: accuracy against epsilon.
        sanity_checks: whether the evaluation fools itself.
        aimed: what attacks that aim at credibility found in each ball.
        detectors: how they fare against an attacker who knows of them.
        rankings: how well each of them tells right answers from wrong ones.
        shifts: answers to images that nobody attacked, and that are not as they were.
        sets: prediction sets, calibrated on clean and on attacked images.
        hardened: what attacked exemplars are worth; None where the index has none.
        examples: attacked images with their neighbours.
        cloud: embeddings, clean and attacked.
        training: the training log.
        subject: what was evaluated.
        provenance: how it was evaluated.

    """

    plan: EvaluationPlan
    rows: NDArray[np.int64]
    images: Pixels
    labels: NDArray[np.int64]
    cases: tuple[CaseResult, ...]
    shown: CaseResult
    own: CaseResult | None = None
    seconds: float = 0.0
    served_on: Placement = CPU
    agreement: Rate = Rate(0, 0)  # noqa: RUF009 - immutable
    credibility: CredibilityResult | None = None
    curves: tuple[Curve, ...] = ()
    sanity_checks: tuple[SanityCheck, ...] = ()
    aimed: tuple[AimedResult, ...] = ()
    detectors: tuple[AttackedDetector, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    shifts: tuple[ShiftResult, ...] = ()
    sets: tuple[PredictionSets, ...] = ()
    hardened: HardenedIndex | None = None
    examples: tuple[Example, ...] = ()
    cloud: Cloud | None = None
    training: tuple[TrainingCurve, ...] = ()
    subject: Subject | None = None
    provenance: Provenance | None = None

    @property
    def threat(self) -> ThreatModel:
        """The ball of the case shown."""
        return self.shown.case.threat

    @property
    def outcome(self) -> AttackOutcome:
        """Per image, of the case shown: served answers clean and attacked, the attacked image, and what fooled it."""
        return self.shown.outcome

    @property
    def clean(self) -> Rate:
        """Attacked images that are answered rightly when clean."""
        return self.shown.result.clean.rate

    @property
    def robust(self) -> Rate:
        """Images that are answered rightly, clean and under every attack tried in the case shown."""
        return self.shown.result.robust.rate

    @property
    def dsr(self) -> Rate:
        """Defence success rate: of those answered rightly when clean, the ones that still are under attack."""
        return self.shown.result.dsr.rate

    @property
    def found_by(self) -> dict[str, int]:
        """How many images each attack of the case shown was the first to fool, the most successful one first."""
        return dict(Counter(name for name in self.outcome.found_by if name).most_common())

    @property
    def attack(self) -> str:
        """What was tried, in words."""
        if self.plan.attack is not None:
            return str(self.plan.attack)
        effort, tried = self.plan.effort, attacks((self.own or self.shown).result.steps)
        return f"{tried}; {effort.steps} gradients, {effort.restarts} restarts, {effort.queries} queries; see {DATA}"

    @property
    def accuracy(self) -> Accuracy | None:
        """As the manifest keeps it: of the bundle's own ball; of the ball attacked, where it was one by one attack."""
        case = self.own if self.plan.attack is None else self.shown
        if case is None:
            return None
        return Accuracy(
            clean=case.result.clean.rate.value,
            robust=case.result.robust.rate.value,
            norm=case.case.threat.norm,
            epsilon=case.case.threat.epsilon,
            attack=self.attack,
            images=len(self.labels),
        )

    def aimed_beside(self, others: Iterable[ThreatResult], *, same_images: bool) -> tuple[AimedThreat, ...]:
        """What came of aiming at credibility, and what `others` found beyond it; see `with_beyond`."""
        said = () if self.credibility is None else self.credibility.aimed
        others, rows = tuple(others), self.rows.tolist()
        return tuple(
            with_beyond(one, found.plain.case.threat, others, rows=rows, same_images=same_images)
            for one, found in zip(said, self.aimed, strict=True)
        )

    @property
    def report(self) -> Report:
        """All of it, without what is per image.

        Raises:
            ValueError: the plan leaves out what a report cannot do without.

        """
        known = self.credibility
        if self.subject is None or self.provenance is None or known is None:
            raise ValueError("a report needs the sections credibility and provenance, which this plan leaves out")
        return Report(
            subject=self.subject,
            provenance=self.provenance,
            clean=known.clean,
            attacked_images=len(self.labels),
            threats=tuple(case.result for case in self.cases),
            curves=self.curves,
            sanity_checks=self.sanity_checks,
            detectors=tuple(each.result for each in self.detectors),
            selective=known.selective,
            aimed=self.aimed_beside((case.result for case in self.cases), same_images=True),
            rankings=self.rankings,
            shifts=self.shifts,
            sets=self.sets,
            hardened=self.hardened,
            reliability=known.reliability,
            validity=known.validity,
            classes=known.classes,
            examples=self.examples,
            cloud=self.cloud,
            training=self.training,
        )
