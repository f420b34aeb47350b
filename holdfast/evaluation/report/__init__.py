"""The report that a bundle carries: numbers in report/report.json, a page in report/index.html."""

from holdfast.evaluation.report.confidence import (
    auroc,
    by_class,
    detection_curve,
    ranked,
    reliability,
    selective,
    validity,
)
from holdfast.evaluation.report.embeddings import cloud
from holdfast.evaluation.report.page import render
from holdfast.evaluation.report.pictures import difference, png
from holdfast.evaluation.report.training import training_curves
from holdfast.evaluation.report.writing import read_report, write_report

__all__ = [
    "auroc",
    "by_class",
    "cloud",
    "detection_curve",
    "difference",
    "png",
    "ranked",
    "read_report",
    "reliability",
    "render",
    "selective",
    "training_curves",
    "validity",
    "write_report",
]
