"""A labelled set as a stream: chunks that come one after the other, in an order that shifts a little or a lot.

The orders are those of Hu et al. (ICLR 2022, arXiv 2104.12081), at the size of CIFAR-10:

    instance          the set in a random order, cut into chunks: they differ by chance alone
    random-class      the classes in a random order, cut into groups: each chunk has classes of its own
    distant-class     classes that are alike in one chunk, so that chunks are as unlike as they can be
    domain            the chunks of `instance`, each in a style of its own: photo, grey, posterised, edges, inverted
    domains           each chunk is one of the sets that a joined set was made of: see `holdfast.data.streams.joined`

Chunks are row numbers of the set, so nothing is copied, and a row that is replayed is an index.
"""

from dataclasses import dataclass
from itertools import count
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.data.labelled import UNKNOWN, DataError, LabelledImages, LabelledRows
from holdfast.data.streams.styles import STYLES, styled

Order = Literal["instance", "random-class", "distant-class", "domain", "domains"]
Rows = NDArray[np.int64]
Groups = tuple[tuple[int, ...], ...]
"""The labels of each chunk."""

PAIRS_ALIKE = (
    (("airplane", "ship"), ("automobile", "truck"), ("deer", "horse"), ("cat", "dog"), ("bird", "frog")),
    (("0", "6"), ("1", "7"), ("2", "3"), ("4", "9"), ("5", "8")),
)
"""Classes that look alike, by name: craft, wheels, hoofs, paws and the rest of CIFAR-10; and ten digits."""


@dataclass(frozen=True)
class StreamConfig:
    """How the training set is cut into chunks. A stage that names a chunk learns from its images alone."""

    order: Order = "instance"
    """What chunks differ in: nothing but chance; classes, at random or so that those alike come together; a style of drawing;
    or the set that they are from."""

    chunks: int = 5
    """How many there are."""

    seed: int = 0
    """Of the order of images, or of classes."""

    def __post_init__(self) -> None:
        if self.chunks < 1 or self.seed < 0:
            raise ValueError(f"a stream needs at least 1 chunk and a seed of at least 0, not {self}")
        if self.order == "domain" and self.chunks > len(STYLES):
            raise ValueError(f"there are {len(STYLES)} styles, so order domain has at most so many chunks, not {self.chunks}")


def chunks_of(images: LabelledRows, stream: StreamConfig) -> tuple[Rows, ...]:
    """The rows of each chunk, ascending: disjoint, and together all there are.

    The same images and stream give the same rows on every machine.

    Raises:
        DataError: the set cannot be cut so, or a chunk has fewer than two images, which nothing can be learned from.

    """
    match stream.order:
        case "instance" | "domain":
            order = np.random.default_rng(stream.seed).permutation(len(images))
            chunks = tuple(np.sort(part) for part in np.array_split(order, stream.chunks))
        case "random-class":
            chunks = _of_classes(images, random_groups(images.class_names, stream))
        case "distant-class":
            chunks = _of_classes(images, distant_groups(images.class_names, stream.chunks))
        case "domains":
            chunks = _of_sets(images, stream.chunks)
    for number, rows in enumerate(chunks):
        if len(rows) < 2:
            raise DataError(
                f"chunk {number} of {stream.chunks} ({stream.order}) has {len(rows)} image{'s' * (len(rows) != 1)}: a chunk"
                " needs at least 2, which can be told apart; ask for fewer chunks, or add images"
            )
    return chunks


def random_groups(class_names: tuple[str, ...], stream: StreamConfig) -> Groups:
    """The labels of each chunk of order `random-class`: a permutation of the classes, cut.

    Permutations that bring together two classes that are alike are passed over, where there are chunks to keep them apart: so
    this order and `distant-class` have no pair in common.

    Raises:
        DataError: there are more chunks than classes.

    """
    classes = len(class_names)
    if stream.chunks > classes:
        raise DataError(f"{classes} classes cannot be cut into {stream.chunks} chunks of classes: ask for at most {classes}")
    alike = [set(pair) for pair in _known_pairs(class_names) or ()] if stream.chunks > 1 else []
    for attempt in count():
        order = np.random.default_rng([stream.seed, attempt]).permutation(classes)
        groups = tuple(tuple(part.tolist()) for part in np.array_split(order, stream.chunks))
        if not any(pair <= set(group) for pair in alike for group in groups):
            return groups
    raise AssertionError  # the count has no end


def distant_groups(class_names: tuple[str, ...], chunks: int) -> Groups:
    """The labels of each chunk of order `distant-class`, where it is known which classes of the set are alike.

    Raises:
        DataError: it is not known, or it gives another number of chunks.

    """
    groups = _known_pairs(class_names)
    if groups is None:
        raise DataError(
            "which classes are alike is known of CIFAR-10 and of ten digits alone: choose another order for this set, as"
            " random-class"
        )
    if len(groups) != chunks:
        raise DataError(f"order distant-class has {len(groups)} chunks of this set, not {chunks}: ask for {len(groups)}")
    return groups


def in_styles(images: LabelledImages, stream: StreamConfig) -> LabelledImages:
    """The images as the stream shows them: in order `domain` each chunk in its style, else as they are."""
    if stream.order != "domain":
        return images
    shown = images.images.copy()
    for rows, style in zip(chunks_of(images, stream), STYLES, strict=False):
        shown[rows] = styled(images.images[rows], style)
    return LabelledImages(shown, images.labels, images.class_names, images.sources)


def _known_pairs(class_names: tuple[str, ...]) -> Groups | None:
    for pairs in PAIRS_ALIKE:
        if sorted(name for pair in pairs for name in pair) == sorted(class_names):
            return tuple(tuple(class_names.index(name) for name in pair) for pair in pairs)
    return None


def _of_classes(images: LabelledRows, groups: Groups) -> tuple[Rows, ...]:
    if (unknown := int((images.labels == UNKNOWN).sum())) and len(groups) > 1:
        raise DataError(
            f"{unknown:,} of {len(images):,} images have no label, so they are in no chunk of classes: use the order instance"
        )
    if len(groups) == 1:
        return (np.arange(len(images)),)
    return tuple(np.flatnonzero(np.isin(images.labels, group)) for group in groups)


def _of_sets(images: LabelledRows, chunks: int) -> tuple[Rows, ...]:
    """By the set that an image's source names first, in the order in which they come."""
    sets = np.array([source.partition("/")[0] for source in images.sources])
    names = list(dict.fromkeys(sets.tolist()))
    if len(names) != chunks:
        raise DataError(
            f"order domains gives each set that was joined a chunk, and these images are of {len(names)}, not of {chunks}: use"
            " --data domains, or another order"
        )
    return tuple(np.flatnonzero(sets == name) for name in names)
