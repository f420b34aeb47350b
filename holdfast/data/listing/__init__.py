"""Labelled images as people have them, in folders, tables or shards, found and sorted before any of them is decoded."""

from pathlib import Path

from holdfast.bundle.printable import printable
from holdfast.console import counted
from holdfast.data.labelled import DataError
from holdfast.data.listing.encoded import EncodedFiles, EncodedImages
from holdfast.data.listing.layout import find_layout
from holdfast.data.listing.left_out import LeftOut
from holdfast.data.listing.listing import ImageListing, default_calibration
from holdfast.data.listing.names import PackedNames
from holdfast.data.listing.rows import ImageRows
from holdfast.data.listing.shards import is_shard, read_shards, shards_in
from holdfast.data.listing.table import read_table
from holdfast.data.listing.tree import read_tree

__all__ = ["TABLES", "EncodedFiles", "ImageListing", "PackedNames", "default_calibration", "list_images", "printable"]

TABLES = (".csv", ".tsv", ".txt", ".parquet")
NAMED = 10


def list_images(path: Path, *, skip_unusable: bool = False, least_classes: int = 2) -> ImageListing:
    """List the images of a folder of class folders, of a .csv or .parquet table of paths and labels, or of shards.

    Shards are .tar, .parquet and .arrow files that hold encoded images: one, or a folder of them.

    Args:
        path: the folder, the table or the shard.
        skip_unusable: leave out, and count, what is meant to be an image and cannot be one: files of other formats, and
            files that a table names and that are not there.
        least_classes: class folders that a folder has to have, 1 or 2; a table may always have one class.

    Raises:
        DataError: there is nothing at `path`, or it is laid out in no way that is known; the message says what was found.

    """
    left_out, title = LeftOut(), printable(str(path))
    unusable: list[tuple[bytes, str]] = []
    encoded: EncodedImages | None = None
    if shards := _shards(path):
        root = path if path.is_dir() else path.parent
        found = read_shards(root, shards, left_out, unusable)
        rows, encoded, class_names, how = found.rows, found.encoded, found.class_names, found.how
    elif path.is_dir():
        root = path
        rows, class_names, how = _rows_of_folder(path, left_out, unusable, least_classes)
    elif path.is_file() and path.suffix.lower() in TABLES:
        table = read_table(path)
        root, rows, class_names, how = path.parent, table.rows, table.class_names, "table"
        unusable = table.unusable
    elif path.is_file():
        raise DataError(f"{title} is a file: unpack it if it is an archive, and name a folder, a .csv table or a .tar shard")
    else:
        raise DataError(f"there is no {title}: name a folder of class folders, or a .csv table")
    if unusable and not skip_unusable:
        named = [f"{printable(name)} {reason}" for name, reason in unusable[:NAMED]]
        more = [f"and {len(unusable) - NAMED:,} more"] if len(unusable) > NAMED else []
        raise DataError(
            "\n  ".join([f"{title}: {counted(len(unusable), 'file')} cannot be read as images:", *named, *more])
            + "\nRemove or convert them, or leave them out by --skip-unreadable."
        )
    for name, _ in unusable:
        left_out.add("files that cannot be read as images", name)
    return ImageListing.of(
        title, root, rows, class_names=class_names, how=how, left_out=left_out, unusable=unusable, encoded=encoded
    )


def _shards(path: Path) -> list[Path]:
    """The shards at `path`; none where there is something else, or nothing."""
    if path.is_dir():
        return shards_in(path)
    return [path] if path.is_file() and is_shard(path) else []


def _rows_of_folder(
    path: Path, left_out: LeftOut, unusable: list[tuple[bytes, str]], least_classes: int
) -> tuple[ImageRows, tuple[str, ...], str]:
    """Rows, class names and layout of a folder; its tree, which takes more memory, is given up."""
    layout = find_layout(printable(str(path)), read_tree(path, left_out, unusable), left_out, least_classes)
    return ImageRows.pack(layout.rows()), layout.class_names, layout.how
