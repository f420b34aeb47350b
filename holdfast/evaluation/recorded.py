"""What an evaluation takes from a bundle's manifest, and what it leaves there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import TypeVar

from holdfast.bundle.manifest import Manifest
from holdfast.bundle.reader import ENCODER, read_manifest
from holdfast.bundle.writer import BundleWriter
from holdfast.data import LabelledImages, Splits, load_verified
from holdfast.errors import HoldfastError
from holdfast.evaluation.report.results import (
    AimedThreat,
    DetectorResult,
    Example,
    PredictionSets,
    Ranking,
    Report,
    Selective,
)
from holdfast.evaluation.result import Evaluation

T = TypeVar("T")


def unseen_images(manifest: Manifest, directory: Path | None = None) -> LabelledImages:
    """The test part of the data set that a bundle was made from. Raises as `recorded_splits` does."""
    return recorded_splits(manifest, directory).test


def recorded_splits(manifest: Manifest, directory: Path | None = None) -> Splits:
    """The data set that a bundle's exemplars are of, split as it was then; see `holdfast.data.load_verified`.

    Raises:
        DataError: the set is not there, or it is another one: test images may be among the exemplars.

    """
    return load_verified(manifest, directory)


def with_credibility(report: Report, evaluation: Evaluation, manifest: Manifest, command: str) -> Report:
    """A report of which credibility and detectors were measured again, for instance after the bundle was calibrated again.

    Labels do not depend on credibility, so all that attacks on them found stands. So does what was said of balls that were not
    attacked again, and of detectors where the bundle's own was not, unless credibility is another one by now.

    Args:
        report: the whole report, of the same encoder, index and vote.
        evaluation: a quick one that has credibility.
        manifest: of the bundle.
        command: what was typed.

    Raises:
        HoldfastError: the report is of another encoder or index.

    """
    known, subject = evaluation.credibility, report.subject
    if known is None:
        raise HoldfastError("this evaluation did not measure credibility")
    _refuse_another(report, manifest)
    said = _said(evaluation, report, command)
    if known.selective[:1] == report.selective[:1] and subject.abstain_below == manifest.abstain_below:
        said = _beside(report, said)
    return report.model_copy(
        update={
            "subject": subject.model_copy(update={"abstain_below": manifest.abstain_below}),
            "clean": known.clean,
            "reliability": known.reliability,
            "validity": known.validity,
            "classes": known.classes,
            "shifts": evaluation.shifts,
            "examples": tuple(_without_credibility(each) for each in report.examples),
        }
        | vars(said)
    )


def with_hardening(report: Report, evaluation: Evaluation, manifest: Manifest, command: str) -> Report:
    """A report in which stands what attacked exemplars are worth, as measured by an evaluation of that alone.

    Args:
        report: the whole report, of the same encoder, index and vote.
        evaluation: that measured it.
        manifest: of the bundle.
        command: what was typed.

    Raises:
        HoldfastError: the report is of another encoder or index; or no exemplar is an attacked image.

    """
    _refuse_another(report, manifest)
    if evaluation.hardened is None:
        raise HoldfastError("no exemplar of this index is an attacked image: put some there by holdfast index --harden")
    return report.model_copy(update={"hardened": evaluation.hardened.model_copy(update={"command": command})})


def with_shifts(report: Report, evaluation: Evaluation, manifest: Manifest) -> Report:
    """A report in which stands what becomes of answers under shifts, as measured by an evaluation of that alone.

    Args and errors are those of `with_hardening`.
    """
    _refuse_another(report, manifest)
    return report.model_copy(update={"shifts": evaluation.shifts})


def _refuse_another(report: Report, manifest: Manifest) -> None:
    files = (manifest.files[ENCODER], manifest.index_sha256)
    if (report.subject.encoder_sha256, report.subject.index_sha256) != files:
        raise HoldfastError("the report is of another encoder or index than the bundle: measure it by holdfast evaluate --full")


@dataclass(frozen=True)
class SaidUnderAttack:
    """What a report says of answers under attack by one who aims at what is said of them; the fields are the report's."""

    aimed: tuple[AimedThreat, ...]
    selective: tuple[Selective, ...]
    sets: tuple[PredictionSets, ...]
    detectors: tuple[DetectorResult, ...]
    rankings: tuple[Ranking, ...]
    remeasured: str


def _said(evaluation: Evaluation, report: Report, command: str) -> SaidUnderAttack:
    """By this evaluation; and what attacks of the report found beyond it."""
    same_images = report.attacked_images == len(evaluation.rows) and report.provenance.seed == evaluation.plan.seed
    known, balls = evaluation.credibility, ", ".join(str(each.plain.case.threat) for each in evaluation.aimed)
    others = ", detectors, rankings" if evaluation.detectors else ""
    return SaidUnderAttack(
        aimed=evaluation.aimed_beside(report.threats, same_images=same_images),
        selective=() if known is None else known.selective,
        sets=evaluation.sets,
        detectors=tuple(each.result for each in evaluation.detectors),
        rankings=evaluation.rankings,
        remeasured=(
            f"What is said of credibility, abstention, prediction sets{others} within {balls} is of"
            f" another run than the table of attacks: of {datetime.now(UTC):%Y-%m-%d}, by {command}. It began with"
            f" {evaluation.attack}, which ignores them, on {len(evaluation.labels)} images, and went on with attacks that aim"
            " at them."
        ),
    )


def _beside(report: Report, said: SaidUnderAttack) -> SaidUnderAttack:
    """With what the report says of balls that were not attacked again, and of detectors where those were not."""
    order = ["clean", *map(str, report.balls)]
    kept = [one for one in report.aimed if one.threat not in {again.threat for again in said.aimed}]
    return SaidUnderAttack(
        aimed=_joined(report.aimed, said.aimed, order, attrgetter("threat")),
        selective=_joined(report.selective, said.selective, order, attrgetter("name")),
        sets=_joined(report.sets, said.sets, order, attrgetter("threat")),
        detectors=said.detectors or report.detectors,
        rankings=said.rankings or report.rankings,
        remeasured=f"{report.remeasured} {said.remeasured}".strip() if kept else said.remeasured,
    )


def _joined(earlier: Sequence[T], now: Sequence[T], order: Sequence[str], name: Callable[[T], str]) -> tuple[T, ...]:
    """All of `now`, and those of `earlier` that have other names, in `order`; names that are not there come last."""
    again = {name(one) for one in now}
    both = (*(one for one in earlier if name(one) not in again), *now)
    return tuple(sorted(both, key=lambda one: order.index(name(one)) if name(one) in order else len(order)))


def _without_credibility(example: Example) -> Example:
    return example.model_copy(update={"clean_credibility": None, "attacked_credibility": None})


def record(directory: Path, evaluation: Evaluation) -> None:
    """Write the measured accuracy into the manifest of the bundle in `directory`; nothing where there is none to record."""
    if evaluation.accuracy is None:
        return
    manifest = read_manifest(directory)
    BundleWriter.open(directory).commit(manifest.model_copy(update={"accuracy": evaluation.accuracy}))
