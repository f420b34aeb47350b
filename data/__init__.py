"""Labelled sets as uint8 arrays, without torch: the same images for training, indexing, evaluation and tests."""

from data.labelled import DataError, LabelledImages, Splits, hold_out
from data.recorded import load_recorded
from data.sets import NAMES, DataName, load

__all__ = ["NAMES", "DataError", "DataName", "LabelledImages", "Splits", "hold_out", "load", "load_recorded"]
