"""What an evaluation of a bundle that listens leaves in it: report/report.json and the page made from it."""

from holdfast.evaluation.speech.report.making import speech_report
from holdfast.evaluation.speech.report.page import render_speech
from holdfast.evaluation.speech.report.results import SpeechReport
from holdfast.evaluation.speech.report.writing import write_speech_report

__all__ = ["SpeechReport", "render_speech", "speech_report", "write_speech_report"]
