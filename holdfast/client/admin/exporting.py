"""`holdfast exemplars export`: a server's exemplars as files."""

import argparse
import csv
import io
import json
import re
import sys
from pathlib import Path

from holdfast.client.admin.client import AdminClient
from holdfast.client.admin.records import ExemplarInfo
from holdfast.console import Console, track
from holdfast.errors import HoldfastError
from holdfast.exit_status import DONE
from holdfast.files import write_atomically


def export(admin: AdminClient, options: argparse.Namespace) -> int:
    """Writes pictures, by class, and their table exemplars.csv; what has no picture stands in a table of its own.

    A table whose rows lack paths would be refused by `holdfast index`.
    """
    directory: Path = options.directory
    if directory.is_dir() and any(directory.iterdir()):
        raise HoldfastError(f"{directory} has something in it: name a directory that is empty or not there yet")
    pictured, bare = _Table(directory / "exemplars.csv"), _Table(directory / "without-pictures.csv")
    stream = admin.export(label=options.label, state=options.state)
    try:
        for exemplar, picture in track(stream, "exporting", console=Console(stderr=True), transient=True):
            path = f"{_folder(exemplar.label)}/{exemplar.id}.png" if picture else ""
            if picture:
                write_atomically(directory / path, picture)
            (pictured if picture else bare).add(path, exemplar)
    finally:  # what came before it broke off is listed, too
        for table in (pictured, bare):
            table.write()
    if options.json:
        print(json.dumps({"pictures": pictured.rows, "without_pictures": bare.rows, "directory": str(directory)}, indent=2))
        return DONE
    print(f"wrote {pictured.rows:,} pictures, listed in {pictured.path}" if pictured.rows else "no exemplar has a picture")
    if bare.rows:
        print(f"{bare.rows:,} without a picture, listed in {bare.path}:", file=sys.stderr)
        print("they came with the bundle, or before the server was started with --keep-images", file=sys.stderr)
    return DONE


class _Table:
    """A table of exemplars that is written if it has rows."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, 0
        self._text = io.StringIO()
        self._csv = csv.writer(self._text)
        self._csv.writerow(("path", "label", "id", "source", "state", "author", "reason"))

    def add(self, path: str, exemplar: ExemplarInfo) -> None:
        """Adds an exemplar, whose picture is at `path`."""
        self._csv.writerow(
            (path, exemplar.label, exemplar.id, exemplar.source, exemplar.state, exemplar.author, exemplar.reason)
        )
        self.rows += 1

    def write(self) -> None:
        """Writes the file."""
        if self.rows:
            write_atomically(self.path, self._text.getvalue().encode())


def _folder(label: str) -> str:
    """A class's name as that of a folder."""
    return re.sub(r"[^\w .()+-]", "_", label).strip(". ") or "_"
