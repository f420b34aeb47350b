"""The report that a bundle carries: numbers in report/report.json, a page in report/index.html."""

from trainer.evaluate.report.confidence import reliability, selective
from trainer.evaluate.report.embeddings import cloud
from trainer.evaluate.report.page import render
from trainer.evaluate.report.pictures import difference, png
from trainer.evaluate.report.training import training_curves
from trainer.evaluate.report.writing import read_report, write_report

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
