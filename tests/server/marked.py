"""A bundle whose first exemplars are marked."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from holdfast.bundle import read_manifest
from holdfast.bundle.exemplars import Exemplars, Flag
from holdfast.bundle.reader import EXEMPLARS
from holdfast.bundle.writer import BundleWriter

MARKS = (Flag.DISAGREES, Flag.ATTACKED, Flag.DOUBTED, Flag.PSEUDO, Flag.DOUBTED | Flag.DISAGREES)
"""Of exemplars 0 to 4."""


def with_marks(bundle: Path, directory: Path, marks: Sequence[Flag] = MARKS) -> Path:
    """A copy of `bundle` at `directory` whose first exemplars have these marks; doubted ones are taken for the last class."""
    shutil.copytree(bundle, directory)
    table, manifest = Exemplars.load(directory / EXEMPLARS), read_manifest(directory)
    flags = np.zeros(len(table), dtype=np.uint8)
    flags[: len(marks)] = marks
    believed = np.where(flags & Flag.DOUBTED, len(manifest.class_names) - 1, -1)
    writer = BundleWriter.open(directory)
    writer.add(EXEMPLARS, replace(table, flags=flags, believed=believed).save)
    writer.commit(manifest)
    return directory
