"""Sets that come as shards: folders of .tar, .parquet or .arrow files, or one such file."""

import os
import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from holdfast.bundle.printable import printable
from holdfast.console import Console, track
from holdfast.data.labelled import DataError
from holdfast.data.listing import columnar
from holdfast.data.listing.encoded import EncodedRanges
from holdfast.data.listing.formats import SUFFIXES as IMAGE_SUFFIXES
from holdfast.data.listing.left_out import LeftOut
from holdfast.data.listing.parts import Part, fold, part_named
from holdfast.data.listing.rows import ImageRows
from holdfast.data.listing.tar import NO_LABEL, read_tar

TAR = ".tar"
SHARDS = (TAR, *columnar.SUFFIXES)
CLASSES = "classes.txt"
SHOWN_FROM = 16  # shards: below that a progress bar only flickers

Found = tuple[bytes, str, Part | None, int, int]
"""Name of an image, its label as text, its part if the shard says it, its first byte, its bytes."""


@dataclass(frozen=True, eq=False)
class ShardedSet:
    """The images of shards: rows, where their bytes lie, and names of classes."""

    rows: ImageRows
    encoded: EncodedRanges
    class_names: tuple[str, ...]
    how: str


def shards_in(path: Path) -> list[Path]:
    """The shards of a folder, in order; none where it holds image files, since it is a folder of these then."""
    found: list[Path] = []
    for folder, below, files in os.walk(os.fsencode(path), followlinks=False):
        below[:] = sorted(name for name in below if not name.startswith(b"."))
        for name in sorted(files):
            suffix = os.path.splitext(name)[1].lower()
            if suffix in IMAGE_SUFFIXES and not name.startswith(b"."):
                return []
            if os.fsdecode(suffix) in SHARDS and not name.startswith(b"."):
                found.append(Path(os.fsdecode(os.path.join(folder, name))))
    return found


def is_shard(path: Path) -> bool:
    """Whether a file is a shard: a .parquet file is one where it holds images, and else a table of their paths."""
    suffix = path.suffix.lower()
    return suffix in SHARDS and (suffix != ".parquet" or columnar.holds_images(path))


def read_shards(root: Path, shards: list[Path], left_out: LeftOut, unusable: list[tuple[bytes, str]]) -> ShardedSet:
    """Find the images of shards.

    Args:
        root: what names are relative to; a `classes.txt` there names numbered classes, a line each.
        shards: the files.
        left_out: counts what is passed over.
        unusable: gets what is meant to be an image and cannot be one.

    Raises:
        DataError: a shard cannot be read, some are of a part and some are not, or there are fewer than two classes.

    """
    where, starts, sizes = array("q"), array("q"), array("q")
    stored: list[Path] = []
    labels: dict[str, int] = {}
    known = _listed_classes(root)
    parts = _parts_of(root, shards)

    def rows() -> Iterator[tuple[bytes, int, Part]]:
        shown = track(shards, "listing", console=Console(stderr=True), transient=True, disable=len(shards) < SHOWN_FROM)
        for number, shard in enumerate(shown):
            title = printable(str(shard.relative_to(root)))
            stored.append(shard)
            for name, label, part, start, size in _found_in(shard, title, stored, left_out, unusable):
                where.append(number)
                starts.append(start)
                sizes.append(size)
                place = _number(label)
                text = known[place] if 0 <= place < len(known) else label
                yield name, labels.setdefault(text, len(labels)), _one_part(title, parts[number], part)

    packed = ImageRows.pack(rows())
    if len(labels) < 2:
        raise DataError(
            f"{printable(str(root))}: the shards have images of {len(labels)} classes: a classifier needs at least two"
        )
    names = _ordered(labels, known)
    place = np.argsort([labels[name] for name in names])
    arrays = (np.frombuffer(column, dtype=np.int64) for column in (where, starts, sizes))
    kinds = sorted({shard.suffix.lower() for shard in shards})
    return ShardedSet(
        ImageRows(packed.names, place[packed.labels], packed.parts),
        EncodedRanges.of(stored, *arrays),
        tuple(map(printable, names)),
        f"{len(shards):,} {' and '.join(kinds)} {'shard' if len(shards) == 1 else 'shards'}",
    )


def _found_in(
    shard: Path, title: str, stored: list[Path], left_out: LeftOut, unusable: list[tuple[bytes, str]]
) -> Iterator[Found]:
    if shard.suffix.lower() == TAR:
        for member in read_tar(shard, title, left_out, unusable):
            yield member.name, member.label, member.part, member.start, member.size
        return
    columns = columnar.read_columns(shard, title)
    stored[-1] = columns.stored
    for row, label in enumerate(columns.labels):
        name, size = os.fsencode(f"{title}/{row}"), int(columns.sizes[row])
        part = None
        if columns.splits is not None and (part := part_named(columns.splits[row])) is None:
            raise DataError(f"{title}, row {row}: split {printable(columns.splits[row])!r} is neither train, val nor test")
        if not size:
            unusable.append((name, "holds no image"))
        elif not label:
            left_out.add(NO_LABEL, name)
        else:
            yield name, label, part, int(columns.starts[row]), size


def _parts_of(root: Path, shards: list[Path]) -> list[Part | None]:
    """The part that each shard's folders or name say: "train/0001.tar", "imagenet-val-0001.tar"."""
    parts = [_part_of(shard.relative_to(root)) for shard in shards]
    named = [shard for shard, part in zip(shards, parts, strict=True) if part is not None]
    others = [shard for shard, part in zip(shards, parts, strict=True) if part is None]
    if named and others:
        raise DataError(
            f"{printable(named[0].name)} is a shard of a part by its name, and {printable(others[0].name)} is not: name all, as"
            " train-0001 and test-0001, or none"
        )
    return parts


def _part_of(name: Path) -> Part | None:
    folders = [part for folder in name.parts[:-1] if (part := part_named(folder)) is not None]
    if folders:
        return folders[-1]
    words = re.split(r"[\s_.\-]+", fold(name.stem))
    said = {part for word in words if (part := part_named(word)) is not None}
    return said.pop() if len(said) == 1 else None


def _one_part(title: str, of_shard: Part | None, of_image: Part | None) -> Part:
    if of_shard is not None and of_image is not None and of_shard != of_image:
        raise DataError(
            f"{title} is of the {of_shard.name.lower()} part by its name, and holds images of the {of_image.name.lower()} part:"
            " rename it"
        )
    return next((part for part in (of_shard, of_image) if part is not None), Part.TRAIN)


def _listed_classes(root: Path) -> tuple[str, ...]:
    path = root / CLASSES
    if not path.is_file():
        return ()
    return tuple(
        line.strip() for line in path.read_text(encoding="utf-8", errors="surrogateescape").splitlines() if line.strip()
    )


def _ordered(labels: Iterable[str], known: tuple[str, ...]) -> list[str]:
    """Classes in the order of their list, numbers by their size, and other names by the alphabet."""
    places = {name: place for place, name in enumerate(known)}
    return sorted(labels, key=lambda name: (places.get(name, len(places)), _number(name), name))


def _number(text: str) -> int:
    """A label that is a number; -1 of any other."""
    return int(text) if text.isdecimal() and len(text) < 10 else -1
