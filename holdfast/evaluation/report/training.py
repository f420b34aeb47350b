"""The training log, as the report keeps it."""

import csv
from itertools import groupby
from math import isfinite
from pathlib import Path

import numpy as np

from holdfast.errors import HoldfastError
from holdfast.evaluation.report.results import TrainingCurve

POINTS = 300
NOT_VALUES = ("stage", "step", "seconds")


def training_curves(path: Path, *, points: int = POINTS) -> tuple[TrainingCurve, ...]:
    """One curve for each stage of a log.csv, in the order of training.

    Args:
        path: the file that training wrote; none there is no curve, for bundles are copied without it.
        points: how many lines of a stage are kept at most, evenly spaced, the first and the last among them.

    Raises:
        HoldfastError: the file is not such a log.

    """
    if not path.is_file():
        return ()
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return tuple(_curve(stage, _thinned(list(lines), points)) for stage, lines in groupby(rows, lambda row: row["stage"]))
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise HoldfastError(f"{path} is not a training log ({error!r}); move it away to make a report without it") from None


def _thinned(rows: list[dict[str, str]], points: int) -> list[dict[str, str]]:
    if len(rows) <= points:
        return rows
    return [rows[i] for i in np.linspace(0, len(rows) - 1, points).round().astype(int)]


def _curve(stage: str, rows: list[dict[str, str]]) -> TrainingCurve:
    names = [name for name in rows[0] if name not in NOT_VALUES and any(row[name] for row in rows)]
    return TrainingCurve(
        stage=stage,
        steps=tuple(int(row["step"]) for row in rows),
        seconds=tuple(float(row["seconds"]) for row in rows),
        values={name: tuple(_number(row[name]) for row in rows) for name in names},
    )


def _number(cell: str) -> float | None:
    """A diverged loss stays a gap that one sees; JSON has no NaN."""
    value = float(cell) if cell else float("nan")
    return value if isfinite(value) else None
