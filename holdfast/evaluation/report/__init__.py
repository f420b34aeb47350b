"""The report that a bundle carries: numbers in report/report.json, a page in report/index.html."""

from holdfast.evaluation.report.confidence import by_class, reliability, selective, validity
from holdfast.evaluation.report.embeddings import cloud
from holdfast.evaluation.report.page import render
from holdfast.evaluation.report.pictures import difference, png
from holdfast.evaluation.report.training import training_curves
from holdfast.evaluation.report.writing import read_report, write_report

__all__ = [
    "by_class",
    "cloud",
    "difference",
    "png",
    "read_report",
    "reliability",
    "render",
    "selective",
    "training_curves",
    "validity",
    "write_report",
]
