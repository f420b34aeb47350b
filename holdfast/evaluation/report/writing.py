"""A report in its bundle: report/report.json for programs, report/index.html for people."""

import json
from pathlib import Path

from pydantic import ValidationError

from holdfast.bundle.reader import read_manifest
from holdfast.bundle.writer import BundleWriter
from holdfast.errors import HashMismatchError, MissingFileError, SchemaMismatchError
from holdfast.evaluation.report.migrations import migrated
from holdfast.evaluation.report.page import render
from holdfast.evaluation.report.parts.base import ReportPart
from holdfast.evaluation.report.results import Report
from holdfast.files import sha256_file

DATA, PAGE = "report/report.json", "report/index.html"


def write_report(directory: Path, report: Report) -> None:
    """Put `report` and its page into the bundle in `directory`, with their hashes in its manifest.

    Raises:
        BundleError: there is no bundle.

    """
    put_report(directory, report, render(report))


def put_report(directory: Path, report: ReportPart, page: str) -> None:
    """The same of a report of any kind, and of the page that was made of it."""
    manifest, text = read_manifest(directory), report.model_dump_json(indent=2) + "\n"
    writer = BundleWriter.open(directory)
    writer.add(DATA, lambda path: path.write_text(text, encoding="utf-8"))
    writer.add(PAGE, lambda path: path.write_text(page, encoding="utf-8"))
    writer.commit(manifest)


def read_report(directory: Path) -> Report:
    """The report of the bundle in `directory`; one of an earlier version comes in the present schema.

    Raises:
        MissingFileError: no bundle, or one without a report.
        HashMismatchError: the report is not the one that the manifest was written for.
        SchemaMismatchError: it is of a later version, or does not follow its schema.

    """
    expected, path = read_manifest(directory).files.get(DATA), directory / DATA
    if expected is None or not path.is_file():
        raise MissingFileError(f"{directory} holds no {DATA}; measure the bundle first: holdfast evaluate --help")
    if sha256_file(path) != expected:
        raise HashMismatchError(f"{path} was changed or damaged after it was written; measure the bundle again")
    try:
        # In JSON mode again: only there is a list a tuple, and a number that is a key a string.
        return Report.model_validate_json(json.dumps(migrated(json.loads(path.read_bytes()))))
    except ValueError as error:
        faults = _faults(error)
        raise SchemaMismatchError(
            f"{path} does not follow this release's schema: {faults}."
            " Measure the bundle again, or use the release that wrote it."
        ) from None


def _faults(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'report'}: {e['msg']}" for e in error.errors()[:5])
