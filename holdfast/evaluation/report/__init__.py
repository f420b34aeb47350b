"""The report that a bundle carries: numbers in report/report.json, a page in report/index.html."""

from holdfast.evaluation.report.confidence import reliability, selective
from holdfast.evaluation.report.embeddings import cloud
from holdfast.evaluation.report.page import render
from holdfast.evaluation.report.pictures import difference, png
from holdfast.evaluation.report.training import training_curves
from holdfast.evaluation.report.writing import read_report, write_report

__all__ = [
    "cloud",
    "difference",
    "png",
    "read_report",
    "reliability",
    "render",
    "selective",
    "training_curves",
    "write_report",
]
