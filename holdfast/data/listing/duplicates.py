"""The same image twice: under two labels, in two parts, or as a copy. Images are the same if their files are."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from holdfast.console import Console, track
from holdfast.data.listing.encoded import EncodedImages
from holdfast.data.listing.left_out import LeftOut
from holdfast.data.listing.names import PackedNames
from holdfast.data.listing.parts import Part
from holdfast.errors import ImageError

HASH_BYTES = 16
SHOWN_FROM = 20_000  # files: below that a progress bar only flickers
TWO_LABELS = "files whose image has two labels"
IN_TEST = "training images that the test part has too"
IN_CALIBRATION = "training images that the calibration part has too"
BOTH_HELD_OUT = "calibration images that the test part has too"
COPIES = "copies of an image of the same class"
COPIES_WITHOUT_LABEL = "copies of an image without a label"
LABELLED_ELSEWHERE = "images without a label that have one elsewhere"


def same_contents(encoded: EncodedImages) -> NDArray[np.int64]:
    """Number the contents of images: int64 [N], equal where the bytes are equal. Only those of equal size are read.

    An image that cannot be read is like no other.
    """
    sizes = np.fromiter((encoded.size(row) for row in range(len(encoded))), dtype=np.int64, count=len(encoded))
    _, group, count = np.unique(sizes, return_inverse=True, return_counts=True)
    # What is empty is no image: reading it says so.
    alike = np.flatnonzero((count[group] > 1) & (sizes > 0))
    digests = np.zeros((len(alike), HASH_BYTES), dtype=np.uint8)
    readable = np.zeros(len(alike), dtype=bool)
    shown = track(alike.tolist(), "comparing", console=Console(stderr=True), transient=True, disable=len(alike) < SHOWN_FROM)
    for place, row in enumerate(shown):
        if (digest := _digest(encoded, row)) is not None:
            digests[place], readable[place] = np.frombuffer(digest, dtype=np.uint8), True
    contents = np.arange(len(encoded), dtype=np.int64)
    rows = alike[readable]
    _, first, which = np.unique(digests[readable].view(f"V{HASH_BYTES}").ravel(), return_index=True, return_inverse=True)
    contents[rows] = rows[first][which]
    return contents


def unique_rows(
    contents: NDArray[np.int64], labels: NDArray[np.int64], parts: NDArray[np.uint8], names: PackedNames, left_out: LeftOut
) -> NDArray[np.int64]:
    """Return the rows to keep, in their order: one of each image, in the part that is held out the furthest.

    An image under two labels is not kept at all: one of them is wrong, and nobody can tell which. One that has a label
    somewhere is not kept without one. What is left out is counted.
    """
    keep = np.ones(len(contents), dtype=bool)
    repeated = np.flatnonzero(np.isin(contents, contents[contents != np.arange(len(contents))]))
    repeated = repeated[np.argsort(contents[repeated], kind="stable")]
    bounds = np.flatnonzero(np.diff(contents[repeated])) + 1
    for same in np.split(repeated, bounds) if len(repeated) else ():
        unlabelled = parts[same] == Part.UNLABELLED
        rows = same if unlabelled.all() else same[~unlabelled]
        for row in same[unlabelled & (not unlabelled.all())].tolist():
            left_out.add(LABELLED_ELSEWHERE, names[row])
            keep[row] = False
        if len(np.unique(labels[rows])) > 1:
            left_out.add(TWO_LABELS, " = ".join(names[row] for row in rows[:3].tolist()), len(rows))
            keep[rows] = False
            continue
        kept = rows[np.argmax(parts[rows])]
        for row in rows[rows != kept].tolist():
            left_out.add(_reason(Part(parts[row]), Part(parts[kept])), names[row])
            keep[row] = False
    return np.flatnonzero(keep)


def _reason(part: Part, kept: Part) -> str:
    if part == kept:
        return COPIES_WITHOUT_LABEL if part == Part.UNLABELLED else COPIES
    if part == Part.CALIBRATION:
        return BOTH_HELD_OUT
    return IN_TEST if kept == Part.TEST else IN_CALIBRATION


def _digest(encoded: EncodedImages, row: int) -> bytes | None:
    try:
        return hashlib.blake2b(encoded.read(row), digest_size=HASH_BYTES).digest()
    except (ImageError, OSError):
        return None
