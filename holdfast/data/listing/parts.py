"""The parts of a set by the names that people give them: Train, training_set, val, Test."""

import re
import unicodedata
from collections.abc import Iterable
from enum import IntEnum


class Part(IntEnum):
    """The part of a set that an image belongs to, where the set says so."""

    TRAIN = 0
    CALIBRATION = 1
    TEST = 2
    UNLABELLED = 3


LABELLED = (Part.TRAIN, Part.CALIBRATION, Part.TEST)
"""The parts whose images have labels."""

UNLABELLED_NAMES = {"unlabelled", "unlabeled"}
"""Folders of this name beside class folders, or beside the parts, hold images without labels."""


WORDS = {
    **dict.fromkeys(("train", "training", "trn"), Part.TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev", "calib", "calibration"), Part.CALIBRATION),
    **dict.fromkeys(("test", "testing", "tst"), Part.TEST),
}
FILLERS = {"set", "data", "dataset", "image", "images", "img", "imgs", "split", "folder", "sample", "samples"}


def fold(name: str | bytes) -> str:
    """Return the name for comparing: in any case and Unicode form, without spaces at its ends."""
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    return unicodedata.normalize("NFC", text).casefold().strip()


def part_named(name: str | bytes) -> Part | None:
    """Return the part that a name stands for by itself: "Train", "training_set", "Test Images", "valid"; else None."""
    part, others = _split(name)
    return part if not others else None


def is_unlabelled(name: str | bytes) -> bool:
    """Whether a folder of this name holds images without labels."""
    return fold(name) in UNLABELLED_NAMES


def parts_among(names: Iterable[bytes]) -> dict[bytes, Part]:
    """Return the names that are parts: by themselves, or as a pair such as seg_train and seg_test."""
    names = list(names)
    alone = {name: part for name in names if (part := part_named(name)) is not None}
    if alone:
        return alone
    pairs: dict[tuple[str, ...], dict[bytes, Part]] = {}
    for name in names:
        part, others = _split(name)
        if part is not None:
            pairs.setdefault(others, {})[name] = part
    best = max(pairs.values(), key=len, default={})
    return best if len(best) > 1 and len(set(best.values())) == len(best) else {}


def _split(name: str | bytes) -> tuple[Part | None, tuple[str, ...]]:
    """Return the part that one word of a name stands for, and the other words."""
    words = [word for word in re.split(r"[\s_.\-]+", fold(name)) if word and word not in FILLERS]
    bare = [next((word.removesuffix(end) for end in FILLERS if word.removesuffix(end) in WORDS), word) for word in words]
    parts = [word for word in bare if word in WORDS]
    if len(parts) != 1:
        return None, ()
    return WORDS[parts[0]], tuple(word for word in bare if word not in WORDS)
