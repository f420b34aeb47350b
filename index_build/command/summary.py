"""What came of an index, for a person: a table, and the exemplars that are flagged."""

import csv
import io
import shlex
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.exemplars import Exemplars, Flag
from holdfast.bundle.manifest import IndexRecord, Manifest
from holdfast.bundle.reader import EXEMPLARS
from holdfast.console import Console, counted, property_table
from holdfast.files import write_atomically
from holdfast.intervals import Rate
from holdfast.model.resolution import describe_resolution

SHOWN_FLAGGED = 10
FLAGGED = "flagged.csv"
"""Beside the index, no file of the manifest: for whoever looks after the labels."""


def print_summary(directory: Path, manifest: Manifest) -> None:
    """Print what the bundle's index is, and some of the exemplars that their neighbours contradict."""
    record = recorded(manifest)
    exemplars = Exemplars.load(directory / EXEMPLARS)
    table = property_table(f"{directory}: ready to serve")
    parameters = ", ".join(f"{name} {value}" for name, value in record.parameters.items())
    table.add_row("index", f"{record.kind}: {parameters}" if parameters else record.kind)
    if record.reason:
        table.add_row("because", record.reason)
    if agreed := record.vote_agreement:
        table.add_row("answers as an exact search does", str(Rate(agreed.alike, agreed.images)))
    table.add_row("exemplars", f"{record.exemplars:,} of {len(manifest.class_names)} classes")
    if guessed := int((exemplars.flags & Flag.PSEUDO > 0).sum()):
        table.add_row("of them", f"{guessed:,} under a label that nobody gave (marked)")
    vote = manifest.vote
    how = vote.weighting if vote.weighting == "uniform" else f"{vote.weighting}, temperature {vote.temperature:g}"
    table.add_row("vote", f"the {vote.k} nearest, {how}")
    table.add_row(f"recall@{manifest.vote.k} against brute force", f"{record.recall_at_k:.4f}")
    if checked := record.labels:
        doubted = f"{checked.doubted:,} were doubted, and are {checked.done} (doubted.csv)"
        table.add_row("labels", f"{checked.labels}; {doubted if checked.doubted else 'none is doubted'}")
    led_away = ""
    if (attacked := exemplars.flags & Flag.ATTACKED > 0).any():
        table.add_row("hardened", f"{attacked.sum():,} of the exemplars are attacked images")
        led_away = f"; {(attacked & (exemplars.flags & Flag.DISAGREES > 0)).sum():,} of them were led away on purpose"
    table.add_row("disagree with their neighbours", f"{record.disagreement_ratio:.2%} (flagged, kept{led_away})")
    table.add_row(*_calibration_row(manifest))
    if manifest.calibration and (asked := manifest.calibration.left_out):
        table.add_row("right, each exemplar left out once", str(Rate(asked.right, asked.images)))
    if record.data is not None:
        merged = "; exemplars of before were kept" if record.data.merged else ""
        if record.data.already_there:
            table.add_row("left out", f"{record.data.already_there:,} images that were exemplars already")
        tested = f"the {record.data.test_images:,} test images of {record.data.data}{merged}"
        table.add_row("evaluated on", tested if record.data.test_images else "nothing: put images into DIR/test/CLASS/")
    Console().print(table)
    print_flagged(directory, manifest, exemplars)
    bundle = shlex.quote(str(directory))
    Console().print(f"next: holdfast evaluate {bundle}    or: holdfast serve {bundle}")


def print_calibration(directory: Path, manifest: Manifest) -> None:
    """Print what a calibration came to."""
    table = property_table(f"{directory}: credibility is calibrated again")
    table.add_row(*_calibration_row(manifest))
    Console().print(table)


def print_flagged(directory: Path, manifest: Manifest, exemplars: Exemplars) -> None:
    """Write all exemplars whose neighbours have another label to flagged.csv, by class, and print the first of them.

    Attacked copies are left out: they were led away from their class on purpose.
    """
    rows = np.flatnonzero((exemplars.flags & Flag.DISAGREES > 0) & (exemplars.flags & Flag.ATTACKED == 0))
    path = directory / FLAGGED
    if len(rows) == 0:
        path.unlink(missing_ok=True)
        return
    rows = rows[np.argsort(exemplars.labels[rows], kind="stable")]
    text = io.StringIO(newline="")
    write = csv.writer(text)
    write.writerow(("id", "class", "source"))
    for row in rows.tolist():
        write.writerow((exemplars.ids[row], manifest.class_names[exemplars.labels[row]], exemplars.sources[row]))
    write_atomically(path, text.getvalue().encode(errors="backslashreplace"))
    console = Console()
    console.print(f"{len(rows):,} exemplars have a label that their neighbours contradict, all of them in {path}; for instance")
    for row in islice(_by_turns(exemplars.labels[rows]), SHOWN_FLAGGED):
        source = exemplars.sources[rows[row]].encode(errors="backslashreplace").decode()
        console.print(f"  {manifest.class_names[exemplars.labels[rows[row]]]}: {source}")


def recorded(manifest: Manifest) -> IndexRecord:
    """The record of the index. Raises ValueError where there is none."""
    if manifest.index is None:
        raise ValueError("the bundle has no index")
    return manifest.index


def _by_turns(labels: NDArray[np.int64]) -> list[int]:
    """Rows of sorted labels: the first of each class, then the second of each."""
    turns = np.arange(len(labels)) - np.searchsorted(labels, labels)
    rows: list[int] = np.lexsort((labels, turns)).tolist()
    return rows


def _calibration_row(manifest: Manifest) -> tuple[str, str]:
    calibration = manifest.calibration
    if calibration is None:
        return "credibility", "not calibrated: the set has no calibration part"
    images = len(calibration.nonconformity)
    whose = "exemplar, each left out once" if calibration.left_out else "held-out image"
    many = "exemplars, each left out once" if calibration.left_out else "held-out images"
    covered = f"{calibration.coverage:.1%} of {counted(images, whose, many)}"
    warning = describe_resolution(images, calibration.wanted)
    said = f"{calibration.abstain_below:.3f} (answers {covered})" + (f"\nwarning: {warning}" if warning else "")
    return "abstains below credibility", said
