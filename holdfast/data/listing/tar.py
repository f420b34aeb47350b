"""Images in tar shards, as WebDataset writes them: members of a sample follow each other and share a name up to its first dot.

A label is a member beside the image, `.cls` (a number or a name) or `.json` (its key "label", "class" or "cls"). In a shard
without such members an image's class is the folder that it lies in.
"""

import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.data.labelled import DataError
from holdfast.data.listing.formats import IMAGE, OTHER_FORMAT, OTHER_SUFFIXES, SUFFIXES, kind_by_start, other_format
from holdfast.data.listing.left_out import LeftOut
from holdfast.data.listing.parts import Part, part_named

LABELS = (b".cls", b".json")
JSON_KEYS = ("label", "class", "cls", "class_name", "category")
LARGEST_LABEL = 2**16  # bytes
BLOCK = tarfile.BLOCKSIZE

NO_LABEL = "images in shards without a label"
SECOND = "images beside the first of their sample"
OTHERS = "files that are not images"
LINKS = "links and special files in shards"
CUT = "shards without an end mark, which may be cut short"
PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


@dataclass(frozen=True, slots=True)
class Member:
    """An image in a shard: its name there, label as text, part if its folders name one, and where its bytes are."""

    name: bytes
    label: str
    part: Part | None
    start: int
    size: int


@dataclass(slots=True)
class _Sample:
    """Members of one name. images, labels: (name, first byte, bytes) of each."""

    key: bytes
    images: list[tuple[bytes, int, int]] = field(default_factory=list)
    labels: list[tuple[bytes, int, int]] = field(default_factory=list)


def read_tar(path: Path, title: str, left_out: LeftOut, unusable: list[tuple[bytes, str]]) -> Iterator[Member]:
    """The images of a shard, in their order.

    Args:
        path: the shard.
        title: its name, for messages and names of images.
        left_out: counts what is passed over.
        unusable: gets what is meant to be an image and cannot be one; of a shard that is cut short, the last image.

    Raises:
        DataError: it is no tar file, or a compressed one.

    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(6).startswith(PACKED):
            raise DataError(f"{title} is compressed, and images are read from the middle of a shard: unpack it to a plain .tar")
        file.seek(0)
        sample = _Sample(b"")
        for name, start, length in _members(path, title, size, left_out, unusable):
            key, suffix = _key(name), os.path.splitext(name)[1].lower()
            if key != sample.key:
                yield from _images(sample, file.fileno(), title, left_out)
                sample = _Sample(key)
            if suffix in SUFFIXES:
                sample.images.append((name, start, length))
            elif suffix in LABELS:
                sample.labels.append((name, start, length))
            elif suffix in OTHER_SUFFIXES:
                unusable.append((_inside(title, name), other_format(OTHER_SUFFIXES[suffix])))
            elif (kind := kind_by_start(os.pread(file.fileno(), 12, start))) == IMAGE:
                sample.images.append((name, start, length))
            elif kind.startswith(OTHER_FORMAT):
                unusable.append((_inside(title, name), kind))
            else:
                left_out.add(OTHERS, _inside(title, name))
        yield from _images(sample, file.fileno(), title, left_out)


def _members(
    path: Path, title: str, size: int, left_out: LeftOut, unusable: list[tuple[bytes, str]]
) -> Iterator[tuple[bytes, int, int]]:
    """Name, first byte and bytes of each regular file that is whole; says where the shard is cut short."""
    try:
        with tarfile.open(path, "r:") as archive:
            while True:
                try:
                    member = archive.next()
                except tarfile.ReadError:
                    break  # the last member was cut, which has been said
                if member is None:
                    break
                archive.members.clear()  # type: ignore[attr-defined]  # else a list of all of them stays in memory
                name = os.fsencode(member.name)
                if member.offset_data + member.size > size:
                    unusable.append((_inside(title, name), "is cut short, as its shard is: the end of it is missing"))
                    return
                if member.isreg() and member.sparse is None:
                    yield name, member.offset_data, member.size
                elif not member.isdir():
                    left_out.add(LINKS, _inside(title, name))
            end = archive.offset
    except (tarfile.ReadError, EOFError) as error:
        raise DataError(f"{title} is no tar file that can be read ({error}): write it again") from None
    with path.open("rb") as file:
        file.seek(end)
        mark = file.read(BLOCK)
    if len(mark) == BLOCK and any(mark):
        unusable.append((os.fsencode(title), f"is damaged at byte {end:,}: what follows is not read"))
    elif len(mark) < BLOCK:
        left_out.add(CUT, title)


def _images(sample: _Sample, descriptor: int, title: str, left_out: LeftOut) -> Iterator[Member]:
    """The images of a sample: the first, where it has a label of its own; else each, by its folder."""
    label = next((text for found in sample.labels if (text := _label_of(descriptor, *found))), "")
    for place, (name, start, size) in enumerate(sample.images):
        folders = name.split(b"/")[:-1]
        part = next((part for folder in folders if (part := part_named(folder)) is not None), None)
        if sample.labels:
            said = label
        else:
            said = "" if not folders or part_named(folders[-1]) is not None else os.fsdecode(folders[-1])
        if place and sample.labels:
            left_out.add(SECOND, _inside(title, name))
        elif not said or said == ".":
            left_out.add(NO_LABEL, _inside(title, name))
        else:
            yield Member(_inside(title, name), said, part, start, size)


def _label_of(descriptor: int, name: bytes, start: int, size: int) -> str:
    """A label as text; "" where the member says none."""
    text = os.pread(descriptor, min(size, LARGEST_LABEL), start).decode(errors="replace").strip()
    if name.lower().endswith(b".cls"):
        return text
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    found = next((values[key] for key in JSON_KEYS if key in values), None) if isinstance(values, dict) else None
    return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""


def _key(name: bytes) -> bytes:
    folder, slash, last = name.rpartition(b"/")
    return folder + slash + last.split(b".", 1)[0]


def _inside(title: str, name: bytes) -> bytes:
    return os.fsencode(f"{title}/") + name
