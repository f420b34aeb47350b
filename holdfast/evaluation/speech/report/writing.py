"""The report in its bundle: report/report.json for programs, report/index.html for people."""

from pathlib import Path

from holdfast.bundle.reader import read_manifest
from holdfast.bundle.writer import BundleWriter
from holdfast.evaluation.report.writing import DATA, PAGE
from holdfast.evaluation.speech.report.page import render_speech
from holdfast.evaluation.speech.report.results import SpeechReport


def write_speech_report(directory: Path, report: SpeechReport) -> None:
    """Put `report` and its page into the bundle in `directory`, with their hashes in its manifest.

    Raises:
        BundleError: there is no bundle.

    """
    manifest = read_manifest(directory)
    text, page = report.model_dump_json(indent=2) + "\n", render_speech(report)
    writer = BundleWriter.open(directory)
    writer.add(DATA, lambda path: path.write_text(text, encoding="utf-8"))
    writer.add(PAGE, lambda path: path.write_text(page, encoding="utf-8"))
    writer.commit(manifest)
