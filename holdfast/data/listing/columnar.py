"""Encoded images in Parquet and Arrow files: a column of bytes, or of {bytes, path} as Hugging Face's datasets write it.

Of an Arrow file that is not compressed the bytes are read where they lie. A Parquet file gives none of its rows alone, so its
images are unpacked once, into a file in the user's cache, and read there.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.data.labelled import DataError
from holdfast.data.listing.parts import fold
from holdfast.errors import install_command
from holdfast.files import replace_atomically

Ints = NDArray[np.int64]

IMAGE_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes", "encoded", "picture", "photo")
LABEL_COLUMNS = ("label", "class", "cls", "class_name", "category", "target", "label_name", "labels")
SPLIT_COLUMNS = ("split", "part", "set", "subset", "fold")
SUFFIXES = (".parquet", ".arrow")
AT_ONCE = 64  # rows of which the images are in memory
ENDING = 8  # bytes


@dataclass(frozen=True, eq=False)
class Columns:
    """Images and labels of one file.

    Attributes:
        stored: the file that holds the bytes of the images.
        starts: int64 [N], the first byte of each there.
        sizes: int64 [N]; 0 where a row has none.
        labels: N texts; "" where a row has none.
        splits: likewise, or None where the file has no such column.
        class_names: in the order of numbers, where the file says them.

    """

    stored: Path
    starts: Ints
    sizes: Ints
    labels: list[str]
    splits: list[str] | None
    class_names: tuple[str, ...]


def holds_images(path: Path) -> bool:
    """Whether a .parquet file holds encoded images, and not only their paths.

    Raises:
        DataError: pyarrow is not installed, or this is no Parquet file.

    """
    return _image_column(_schema(path)) is not None


def read_columns(path: Path, title: str) -> Columns:
    """Find the images of a .parquet or .arrow file.

    Args:
        path: the file.
        title: its name, for messages.

    Raises:
        DataError: it cannot be read, lacks a column, or cannot be unpacked.

    """
    schema = _schema(path)
    image = _image_column(schema)
    label = next((name for known in LABEL_COLUMNS for name in schema.names if fold(name) == known), None)
    split = next((name for known in SPLIT_COLUMNS for name in schema.names if fold(name) == known), None)
    if image is None or label is None:
        raise DataError(
            f"{title} has the columns {', '.join(schema.names)[:200]}: it needs one of encoded images (binary), named image,"
            " and one of labels, named label"
        )
    names = _class_names(schema, label)
    wanted = [name for name in (label, split) if name is not None]
    labels: list[str] = []
    splits: list[str] = []
    try:
        for batch in _batches(path, wanted, 65_536):
            batch.validate(full=True)  # a damaged one would be read beyond its end
            labels += [_text(cell, names) for cell in batch.column(label).to_pylist()]
            splits += [_text(cell, ()) for cell in batch.column(split).to_pylist()] if split is not None else []
        in_place = _places(path, image) if path.suffix.lower() == ".arrow" else None
        stored, starts, sizes = in_place or _unpacked(path, title, image)
    # A damaged file says lengths and codes that no Python object has.
    except (_arrow().ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise DataError(f"{title} cannot be read: {error}") from None
    if len(labels) != len(starts):
        raise DataError(f"{title} is damaged: it has {len(starts):,} images and {len(labels):,} labels")
    return Columns(stored, starts, sizes, labels, splits if split is not None else None, names)


def _arrow() -> Any:
    try:
        import pyarrow as pa  # noqa: PLC0415 - only these files need it
        import pyarrow.ipc  # noqa: PLC0415
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError as error:
        raise DataError(f"reading Parquet and Arrow needs pyarrow: {install_command('parquet')}") from error
    return pa


def _schema(path: Path) -> Any:
    arrow, parquet = _arrow(), path.suffix.lower() == ".parquet"
    try:
        if parquet:
            schema = arrow.parquet.read_schema(path)
        else:
            with arrow.memory_map(str(path)) as mapped:
                schema = _reader(mapped).schema
        _ = schema.names, schema.metadata  # of a damaged file they may be no text
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path.name} is no {'Parquet table' if parquet else 'Arrow file'} that can be read: {error}") from None
    return schema


def _image_column(schema: Any) -> str | None:
    """The column of encoded images; where several may be it, the one of a usual name."""
    found = [name for name, kind in zip(schema.names, schema.types, strict=True) if _is_binary(_bytes_of(kind))]
    named = [name for known in IMAGE_COLUMNS for name in found if fold(name) == known]
    return next(iter(named), found[0] if len(found) == 1 else None)


def _bytes_of(kind: Any) -> Any:
    if _arrow().types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return kind.field(place).type if place >= 0 else kind
    return kind


def _is_binary(kind: Any) -> bool:
    types = _arrow().types
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _class_names(schema: Any, label: str) -> tuple[str, ...]:
    """The names of numbered classes, as Hugging Face's datasets leave them in the schema."""
    try:
        about = json.loads((schema.metadata or {})[b"huggingface"])
        names = about["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()


def _text(cell: object, names: tuple[str, ...]) -> str:
    if isinstance(cell, int) and not isinstance(cell, bool) and 0 <= cell < len(names):
        return names[cell]
    if isinstance(cell, bytes):
        return os.fsdecode(cell)
    return "" if cell is None or cell == -1 else str(cell).strip()


def _reader(mapped: Any) -> Any:
    """Record batches of an Arrow file, or of a stream in a file."""
    arrow = _arrow()
    try:
        return arrow.ipc.open_file(mapped)
    except arrow.ArrowInvalid:
        mapped.seek(0)
        return arrow.ipc.open_stream(mapped)


def _batches(path: Path, columns: list[str], rows: int) -> Iterator[Any]:
    """Record batches of some columns, of at most so many rows."""
    arrow = _arrow()
    if path.suffix.lower() == ".parquet":
        file = arrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=2**20)
        yield from file.iter_batches(batch_size=rows, columns=columns)
        return
    with arrow.memory_map(str(path)) as mapped:
        for batch in _record_batches(_reader(mapped)):
            for start in range(0, batch.num_rows, rows):
                yield batch.slice(start, rows).select(columns)


def _record_batches(reader: Any) -> Iterator[Any]:
    if hasattr(reader, "num_record_batches"):
        yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
    else:
        yield from reader


def _images(column: Any) -> Any:
    """The bytes of a column of images, as a binary array, checked."""
    column.validate(full=True)
    return column.field("bytes") if _arrow().types.is_struct(column.type) else column


def _places(path: Path, image: str) -> tuple[Path, Ints, Ints] | None:
    """Where the images of an Arrow file lie in it; None where they are compressed."""
    arrow = _arrow()
    starts, sizes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    with arrow.memory_map(str(path)) as mapped:
        length = mapped.size()
        base = mapped.read_buffer(length).address
        mapped.seek(0)
        for batch in _record_batches(_reader(mapped)):
            found = _images(batch.column(image))
            if not len(found):
                continue
            _, ends, data = found.buffers()
            if data is None or not base <= data.address <= data.address + data.size <= base + length:
                return None
            wide = np.int64 if arrow.types.is_large_binary(found.type) else np.int32
            bounds = np.frombuffer(ends, dtype=wide)[found.offset : found.offset + len(found) + 1].astype(np.int64)
            present = np.array(found.is_valid(), dtype=bool)
            starts.append(data.address - base + bounds[:-1])
            sizes.append(np.where(present, np.diff(bounds), 0))
    return path, np.concatenate(starts), np.concatenate(sizes)


def _unpacked(path: Path, title: str, image: str) -> tuple[Path, Ints, Ints]:
    """Images of a file that gives no row alone, in one of the cache: their bytes, where each ends, and their number."""
    about = path.stat()
    key = hashlib.sha256(
        "\0".join(map(str, (path.resolve(), about.st_size, about.st_mtime_ns, image))).encode(errors="surrogateescape")
    )
    stored = unpacked_folder() / f"{key.hexdigest()[:32]}.images"
    if not stored.is_file():
        stored.parent.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(stored.parent).free) < 1.5 * about.st_size:
            raise DataError(
                f"{title} has to be unpacked into {stored.parent}, where {free / 1e9:.1f} GB are free of the"
                f" {1.5 * about.st_size / 1e9:.1f} GB that it may take: free some, or name another folder by XDG_CACHE_HOME"
            )
        with replace_atomically(stored) as temporary:
            _unpack(path, image, temporary)
    with stored.open("rb") as file:
        file.seek(-ENDING, os.SEEK_END)
        count = int(np.frombuffer(file.read(ENDING), dtype="<i8")[0])
        file.seek(-ENDING * (count + 1), os.SEEK_END)
        ends = np.frombuffer(file.read(ENDING * count), dtype="<i8").astype(np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), ends])[:count]
    return stored, starts, ends - starts


def _unpack(path: Path, image: str, to: Path) -> None:
    ends, written = [np.zeros(0, np.int64)], 0
    with to.open("wb") as file:
        for batch in _batches(path, [image], AT_ONCE):
            cells = [cell or b"" for cell in _images(batch.column(0)).to_pylist()]
            file.writelines(cells)
            ends.append(written + np.cumsum([len(cell) for cell in cells], dtype=np.int64))
            written = int(ends[-1][-1]) if cells else written
        every = np.concatenate(ends)
        file.write(np.append(every, len(every)).astype("<i8").tobytes())


def unpacked_folder() -> Path:
    """Where images of Parquet files are unpacked; whoever deletes it loses time alone."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holdfast" / "unpacked"
