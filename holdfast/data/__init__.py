"""Labelled sets as uint8 arrays, without torch: the same images for training, indexing, evaluation and tests."""

from holdfast.data.labelled import DataError, LabelledImages, Splits, hold_out
from holdfast.data.recorded import load_recorded, load_verified
from holdfast.data.sets import NAMES, DataName, load
from holdfast.data.streamed import LabelledSource, ReadFault, ReadImages, StreamedSplits, open_labelled

__all__ = [
    "NAMES",
    "DataError",
    "DataName",
    "LabelledImages",
    "LabelledSource",
    "ReadFault",
    "ReadImages",
    "Splits",
    "StreamedSplits",
    "hold_out",
    "load",
    "load_recorded",
    "load_verified",
    "open_labelled",
]
