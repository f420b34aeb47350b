"""The report in its bundle: report/report.json for programs, report/index.html for people."""

from pathlib import Path

from holdfast.evaluation.report.writing import put_report
from holdfast.evaluation.speech.report.page import render_speech
from holdfast.evaluation.speech.report.results import SpeechReport


def write_speech_report(directory: Path, report: SpeechReport) -> None:
    """Put `report` and its page into the bundle in `directory`, with their hashes in its manifest.

    Raises:
        BundleError: there is no bundle.

    """
    put_report(directory, report, render_speech(report))
