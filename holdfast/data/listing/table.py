"""A table of paths and labels: CSV, or Parquet where pyarrow is installed."""

import csv
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from holdfast.bundle.printable import printable
from holdfast.console import counted
from holdfast.data.labelled import DataError
from holdfast.data.listing.formats import IMAGE, OTHER_FORMAT, kind_of
from holdfast.data.listing.parts import Part, fold, part_named
from holdfast.data.listing.rows import ImageRows
from holdfast.errors import install_command

COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img", "img_path"),
    "label": ("label", "class", "class_name", "category", "target", "label_name"),
    "split": ("split", "part", "set", "subset", "fold"),
}
DELIMITERS = ",;\t"
NAMED = 10

Row = tuple[int, str, str, str | None, str]
"""Line or row number, path, label, split, and what is wrong with the row: "" if nothing is that can be seen by itself."""


@dataclass(eq=False)
class Table:
    """The rows of a table, with classes numbered in alphabetical order."""

    class_names: tuple[str, ...]
    rows: ImageRows
    unusable: list[tuple[bytes, str]]


def read_table(path: Path) -> Table:
    """Read a table of path, label and, if it has it, split. Paths are relative to the table's folder.

    Raises:
        DataError: it is no such table, a row lacks a value, a split is unknown, or there are fewer than two classes.

    """
    labels: dict[str, int] = {}
    unusable: list[tuple[bytes, str]] = []
    faults: list[str] = []

    def usable() -> Iterator[tuple[bytes, int, Part]]:
        folder = os.fsencode(path.parent)
        for number, name, label, split, fault in _parquet_rows(path) if path.suffix.lower() == ".parquet" else _csv_rows(path):
            part = Part.TRAIN if split is None else part_named(split)
            if fault or not name or not label or part is None:
                said = fault or ("no path" if not name else "no label" if not label else _unknown(split))
                faults.append(f"row {number}: {said}")
                continue
            raw, no_image = _look(folder, name)
            if no_image:
                unusable.append((raw, no_image))
            else:
                yield raw, labels.setdefault(label, len(labels)), part

    rows = ImageRows.pack(usable())
    if faults:
        raise DataError(
            "\n  ".join(
                [f"{printable(str(path))}: {counted(len(faults), 'row')} cannot be used:", *faults[:NAMED], *_more(faults)]
            )
        )
    if len(labels) < 2:
        raise DataError(
            f"{printable(str(path))} has {counted(len(labels), 'class', 'classes')} in its column of labels:"
            " a classifier needs at least two"
        )
    names = sorted(labels)
    place = np.argsort([labels[name] for name in names])
    return Table(tuple(map(printable, names)), ImageRows(rows.names, place[rows.labels], rows.parts), unusable)


def _look(folder: bytes, name: str) -> tuple[bytes, str]:
    """Return the name as the file system has it, and what is wrong with that file: "" if it may be an image."""
    raw = os.fsencode(name)
    if b"\\" in raw and not os.path.exists(os.path.join(folder, raw)):
        raw = raw.replace(b"\\", b"/")  # written on Windows
    path = os.path.join(folder, raw)
    if _leaves(folder, path):
        return raw, "lies outside of the table's folder: move the table to a folder that holds it"
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except OSError as error:
        return raw, error.strerror or str(error)
    except ValueError as error:
        return raw, str(error)
    if not regular:
        return raw, "is no file"
    kind = kind_of(path)
    if kind == IMAGE:
        return raw, ""
    return raw, kind if kind.startswith(OTHER_FORMAT) else "is no image"


def _leaves(folder: bytes, path: bytes) -> bool:
    """Whether a path, as it is written, leads out of a folder. Links within the folder are its owner's."""
    inside = os.path.abspath(folder)
    return os.path.commonpath([inside, os.path.abspath(path)]) != inside


def _unknown(split: str | None) -> str:
    return f"split {printable(split or '')!r} is neither train, val nor test"


def _more(faults: Sequence[str]) -> list[str]:
    return [f"and {len(faults) - NAMED:,} more"] if len(faults) > NAMED else []


def _columns(path: Path, header: Sequence[str]) -> tuple[int, int, int | None]:
    """Places of the path, label and split columns in a header."""
    names = [fold(name) for name in header]
    path_at, label_at, split_at = (
        next((names.index(name) for name in known if name in names), None) for known in COLUMNS.values()
    )
    used = [names[at] for at in (path_at, label_at, split_at) if at is not None]
    if twice := [name for name in used if names.count(name) > 1]:
        raise DataError(f"{printable(str(path))}: more than one column is named {twice[0]}: rename or remove the others")
    if path_at is None or label_at is None:
        shown = printable(", ".join(header)[:200]) or "nothing"
        raise DataError(
            f"{printable(str(path))}: the first line must name the columns path and label (and maybe split), not {shown}"
        )
    return path_at, label_at, split_at


def _csv_rows(path: Path) -> Iterator[Row]:
    """Rows of a text table with commas, semicolons or tabs; names of files may be no UTF-8."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        first = file.readline()
        file.seek(0)
        delimiter = max(DELIMITERS, key=first.count)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
            path_at, label_at, split_at = _columns(path, header)
            for row in reader:
                if not any(cell.strip() for cell in row):
                    continue
                cells = [row[at].strip() if at is not None and at < len(row) else "" for at in (path_at, label_at, split_at)]
                fault = ""
                if any(cell.strip() for cell in row[len(header) :]):
                    fault = f"{len(row)} values for {len(header)} columns; what holds a {delimiter!r} has to be quoted"
                yield reader.line_num, cells[0], cells[1], None if split_at is None else cells[2], fault
        except csv.Error as error:
            raise DataError(f"{printable(str(path))}, line {reader.line_num}: {error}") from error


def _parquet_rows(path: Path) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415 - only Parquet needs it
    except ImportError as error:
        raise DataError(f"reading Parquet needs pyarrow: {install_command('parquet')}, or save the table as .csv") from error
    try:
        file = parquet.ParquetFile(path)
        header = file.schema_arrow.names
        wanted = [header[at] for at in _columns(path, header) if at is not None]
        number = 0
        for batch in file.iter_batches(batch_size=16_384, columns=wanted):
            batch.validate(full=True)
            for cells in zip(*(batch.column(name).to_pylist() for name in wanted), strict=True):
                number += 1
                texts = [_text(cell) for cell in cells]
                yield number, texts[0], texts[1], texts[2] if len(texts) == 3 else None, ""
    # A damaged file says lengths and codes that no Python object has.
    except (ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise DataError(f"{printable(str(path))} is no Parquet table that can be read: {error}") from error


def _text(cell: object) -> str:
    if isinstance(cell, bytes):
        return os.fsdecode(cell)
    return "" if cell is None else str(cell).strip()
