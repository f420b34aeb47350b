"""A version tried before it is served: every batch size is run, and what comes out has to be what the bundle says of itself."""

import numpy as np

from holdfast.bundle.reader import Bundle
from holdfast.errors import BundleError
from holdfast.model.answers import Answers
from holdfast.model.classifier import Retrieval
from holdfast.model.retrieval.base import SPARE, Exportable
from holdfast.server.core.snapshot import ModelSnapshot

SAME = 1e-3
"""Largest cosine distance between embeddings of one image in batches of different sizes."""

EXEMPLARS_TRIED = 256
MOST_EXPORTED = 200_000
"""Rows of an index that is asked to hand out its exemplars: all of them are copied."""

FOUND = 0.95
"""Least share of exemplars that are among their own neighbours; more copies of one than fit there hide some."""

MARGIN = 0.05
"""Share of images by which an accuracy may be below what was recorded."""


class CanaryError(BundleError):
    """A version whose answers are not what they should be."""


def try_model(bundle: Bundle, snapshot: ModelSnapshot, most: int) -> str:
    """Run every batch size, then the canary of the bundle.

    Args:
        bundle: opened.
        snapshot: the model of it.
        most: images of the largest batch.

    Returns:
        Which canary was run and what came of it, in one sentence.

    Raises:
        CanaryError: what came out is not what it should be; says what was expected.

    """
    _check_warm(warm(snapshot, most))
    return _check_exemplars(bundle, snapshot)


def warm(snapshot: ModelSnapshot, most: int) -> list[Answers]:
    """Classify batches of 1, 2, 4 and so on up to `most` images, so that buffers of each size are there.

    Images are noise, the same ones each time.
    """
    noise = np.random.default_rng(0).integers(0, 256, (most, *snapshot.description.contract.shape), dtype=np.uint8)
    return [snapshot.classifier.classify(noise[:size]) for size in batch_sizes(most)]


def batch_sizes(most: int) -> list[int]:
    """The powers of two below `most`, and `most` itself."""
    return [*(1 << power for power in range((most - 1).bit_length())), most]


def _check_exemplars(bundle: Bundle, snapshot: ModelSnapshot) -> str:
    """Exemplars have to be found where they are, and to be answered as they are labelled as often as the manifest says."""
    index = bundle.index
    if not isinstance(index, Exportable) or index.size > MOST_EXPORTED:
        return "no canary but a warm-up: the bundle has none, and an index of this kind or size hands out no exemplars"
    bank = index.export()
    rows = np.linspace(0, index.size - 1, min(index.size, EXEMPLARS_TRIED)).astype(np.int64)
    embeddings, ids, labels = bank.embeddings[rows], bank.ids[rows], bank.labels[rows]
    found = index.search(embeddings, snapshot.description.vote.k + SPARE)
    answers = snapshot.decide(Retrieval(embeddings, found)).answers
    itself = float(np.mean((found.ids == ids[:, None]).any(axis=1)))
    right = float(np.mean(answers.labels == labels))
    expected = 1 - (snapshot.description.disagreement_ratio or 0.0) - MARGIN
    if itself < FOUND or right < expected:
        raise CanaryError(
            f"of {len(rows)} exemplars the index finds {itself:.0%} and the vote answers {right:.0%} as they are labelled;"
            f" {FOUND:.0%} and {expected:.0%} were expected: build the index again"
        )
    return f"of {len(rows)} exemplars {right:.0%} are answered as they are labelled; the bundle has no canary of its own"


def _check_warm(batches: list[Answers]) -> None:
    first = batches[0].embeddings[0]
    for answers in batches:
        lengths = np.linalg.norm(answers.embeddings, axis=1)
        if not (np.abs(lengths - 1) < SAME).all():  # NaN is not below either
            raise CanaryError(
                f"in a batch of {len(lengths)} an embedding has length {lengths[np.abs(lengths - 1).argmax()]:.4g} and not 1:"
                " export the encoder again"
            )
        if 1 - float(answers.embeddings[0] @ first) > SAME:
            raise CanaryError(
                f"a batch of {len(lengths)} embeds an image otherwise than a batch of 1: export the encoder again"
            )
