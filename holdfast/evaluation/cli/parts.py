"""The parts of a report that can be measured by themselves, and written into the report that a bundle has already."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from holdfast.bundle.manifest import Manifest
from holdfast.bundle.threat_model import ThreatModel
from holdfast.evaluation.cli.options import EvaluateConfig
from holdfast.evaluation.cli.plans import credibility_plan_of, hardening_plan_of, shifts_plan_of
from holdfast.evaluation.plan import EvaluationPlan
from holdfast.evaluation.recorded import with_credibility, with_hardening, with_shifts
from holdfast.evaluation.report.results import Report
from holdfast.evaluation.result import Evaluation


@dataclass(frozen=True)
class MeasuredPart:
    """A part of a report.

    Attributes:
        name: of its flag; where it takes long, of the cache beside the bundle, too.
        plan: what measures it, of a bundle whose report is of these balls.
        joined: the report with what was measured, by what was typed.
        long: it takes so long that what is done is kept.
        attacks: it attacks images, of which the table of attacks is shown.

    """

    name: str
    plan: Callable[[EvaluateConfig, Manifest, Sequence[ThreatModel]], EvaluationPlan]
    joined: Callable[[Report, Evaluation, Manifest, str], Report]
    long: bool
    attacks: bool


PARTS = (
    MeasuredPart(
        "credibility",
        lambda config, manifest, _: credibility_plan_of(config, manifest),
        with_credibility,
        long=True,
        attacks=True,
    ),
    MeasuredPart(
        "hardening",
        lambda config, _, balls: hardening_plan_of(config, balls),
        with_hardening,
        long=True,
        attacks=False,
    ),
    MeasuredPart(
        "shifts",
        lambda config, *_: shifts_plan_of(config),
        lambda report, evaluation, manifest, _: with_shifts(report, evaluation, manifest),
        long=False,
        attacks=False,
    ),
)


def part_of(config: EvaluateConfig) -> MeasuredPart | None:
    """The part that the command line asks for; None where it asks for a table or for all."""
    return next((part for part in PARTS if getattr(config, part.name)), None)
