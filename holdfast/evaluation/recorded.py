"""What an evaluation takes from a bundle's manifest, and what it leaves there."""

from datetime import UTC, datetime
from pathlib import Path

from holdfast.bundle.manifest import Manifest
from holdfast.bundle.reader import ENCODER, read_manifest
from holdfast.bundle.writer import BundleWriter
from holdfast.data import LabelledImages, Splits, load_verified
from holdfast.errors import HoldfastError
from holdfast.evaluation.report.results import Example, Report
from holdfast.evaluation.result import Evaluation


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

    Labels do not depend on credibility, so all that attacks on them found stands.

    Args:
        report: the whole report, of the same encoder, index and vote.
        evaluation: a quick one that has credibility and detectors.
        manifest: of the bundle.
        command: what was typed.

    Raises:
        HoldfastError: the report is of another encoder or index.

    """
    known, subject = evaluation.credibility, report.subject
    files = (manifest.files[ENCODER], manifest.index_sha256)
    if known is None or (subject.encoder_sha256, subject.index_sha256) != files:
        raise HoldfastError("the report is of another encoder or index than the bundle: measure it by holdfast evaluate --full")
    balls = ", ".join(str(each.plain.case.threat) for each in evaluation.aimed)
    return report.model_copy(
        update={
            "subject": subject.model_copy(update={"abstain_below": manifest.abstain_below}),
            "clean": known.clean,
            "selective": known.selective,
            "aimed": known.aimed,
            "rankings": evaluation.rankings,
            "sets": evaluation.sets,
            "reliability": known.reliability,
            "validity": known.validity,
            "classes": known.classes,
            "detectors": tuple(each.result for each in evaluation.detectors),
            "examples": tuple(_without_credibility(each) for each in report.examples),
            "remeasured": (
                "All that is said of credibility, abstention, prediction sets, detectors and rankings is of another run than"
                f" the table of attacks: of {datetime.now(UTC):%Y-%m-%d}, by {command}. It began with {evaluation.attack},"
                f" which ignores them, on {len(evaluation.labels)} images within {balls}, and went on with attacks that aim at"
                " them."
            ),
        }
    )


def _without_credibility(example: Example) -> Example:
    return example.model_copy(update={"clean_credibility": None, "attacked_credibility": None})


def record(directory: Path, evaluation: Evaluation) -> None:
    """Write the measured accuracy into the manifest of the bundle in `directory`; nothing where there is none to record."""
    if evaluation.accuracy is None:
        return
    manifest = read_manifest(directory)
    BundleWriter.open(directory).commit(manifest.model_copy(update={"accuracy": evaluation.accuracy}))
