"""Choosing how neighbours vote, on images held out of index and training.

Three things count. Clean accuracy. Accuracy under attack: a sharp vote, of a low temperature, wins on clean images and is the
more easily attacked, as an attacker need reach only a few exemplars (docs/tried.md). And agreement: an evaluation attacks a
soft kNN in the vote's place, and one that answers otherwise says little about the vote.

So among the votes that the soft kNN of the same temperature agrees with, the one of the largest mean of clean and attacked
accuracy is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.manifest import Manifest
from holdfast.bundle.reader import Bundle
from holdfast.index_build.attack import STEPS, attack, embedded
from holdfast.index_build.streaming.progress import progress
from holdfast.intervals import Rate
from holdfast.model.preprocess import Pixels
from holdfast.model.retrieval.base import Bank, Retriever, nearest
from holdfast.model.surrogate import SoftKNN
from holdfast.model.vote import VoteParameters, vote

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

KS = (15, 25, 50, 75, 100, 200, 400, 1000, 2000)
TEMPERATURES = (0.02, 0.03, 0.05, 0.07, 0.1)
AGREEMENT = 0.99
"""What the evaluation's sanity check asks for (holdfast evaluate --full)."""

AT_ONCE = 200

ATTACKED = 300
"""Calibration images that are attacked to choose a vote: votes are compared on the same ones, so a few tell them apart."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to vote, and how it fares on held-out images.

    Attributes:
        parameters: exponential weights, of this temperature.
        accuracy: images answered rightly.
        robust: of the attacked images, those answered rightly before and after every attack.
        agreement: images on which the soft kNN over the whole bank, at the same temperature, gives the same answer.

    """

    parameters: VoteParameters
    accuracy: Rate
    robust: Rate
    agreement: Rate


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Images that votes are compared on.

    Attributes:
        embeddings: float32 [N, D].
        labels: int64 [N], their true classes.
        attacked: of each attack, float32 [n, D]: the first n <= N of the images, attacked.

    """

    embeddings: Floats
    labels: Labels
    attacked: tuple[Floats, ...]


def surrogates(bank: Bank, classes: int) -> tuple[SoftKNN, ...]:
    """The soft kNN over the whole bank, at each temperature that is tried."""
    return tuple(SoftKNN(bank.embeddings, bank.labels, classes, temperature) for temperature in TEMPERATURES)


def candidates(index: Retriever, soft: Sequence[SoftKNN], held_out: HeldOut, classes: int) -> tuple[Candidate, ...]:
    """Try every k and temperature that the index is large enough for.

    Args:
        index: the exemplars.
        soft: the surrogates of each temperature.
        held_out: what to compare the votes on.
        classes: number of classes.

    """
    ks = [k for k in KS if k <= index.size] or [index.size]

    def neighbours(embeddings: Floats) -> tuple[Floats, Labels]:
        found = nearest(index, embeddings, ks[-1])
        return found.similarities, found.labels

    def answers(near: tuple[Floats, Labels], parameters: VoteParameters) -> Labels:
        similarities, labels = near
        return vote(similarities[:, : parameters.k], labels[:, : parameters.k], classes, parameters).labels

    clean, attacked = neighbours(held_out.embeddings), [neighbours(part) for part in held_out.attacked]
    tried = []
    for surrogate in soft:
        agreed = _soft_answers(surrogate, held_out.embeddings)
        for k in ks:
            parameters = VoteParameters(k=k, weighting="exponential", temperature=surrogate.tau)
            answered = answers(clean, parameters)
            right = answered == held_out.labels
            withstood = right[: len(attacked[0][0])].copy()
            for part in attacked:
                withstood &= answers(part, parameters) == held_out.labels[: len(withstood)]
            tried.append(Candidate(parameters, _rate(right), _rate(withstood), _rate(answered == agreed)))
    return tuple(tried)


def with_chosen_vote(
    manifest: Manifest, bundle: Bundle, index: Retriever, bank: Bank, *, images: Pixels, held_out: HeldOut, quiet: bool
) -> Manifest:
    """The manifest with the vote that does best on held-out images, clean and attacked.

    Args:
        manifest: with the classes of this index.
        bundle: has the encoder and its gradient.
        index: over `bank`.
        bank: the exemplars.
        images: uint8 [n, H, W, 3], the first n held-out ones, which are attacked.
        held_out: all of them, not yet attacked.
        quiet: no progress bar.

    """
    classes, threat = len(manifest.class_names), manifest.threat_model.model()
    soft, labels = surrogates(bank, classes), held_out.labels[: len(images)]
    with progress("attacking", len(images) * len(soft) * STEPS, quiet=quiet) as advance:
        attacked = tuple(embedded(bundle, attack(bundle, images, labels, each, threat, advance=advance)) for each in soft)
    tried = candidates(index, soft, HeldOut(held_out.embeddings, held_out.labels, attacked), classes)
    best = choose(tried).parameters
    # The surrogate is the likest the vote at the vote's own temperature: that is how it was chosen.
    return manifest.model_copy(update={"vote": best, "surrogate_tau": best.temperature})


def choose(tried: Sequence[Candidate]) -> Candidate:
    """The best of those with enough agreement; the one of the most agreement where none has enough.

    Ties go to more robust ones, then to more agreement, then to fewer neighbours.
    """
    enough = [each for each in tried if each.agreement.value >= AGREEMENT]
    if not enough:
        return max(tried, key=lambda each: (each.agreement.successes, _merit(each)))
    return max(enough, key=lambda each: (_merit(each), each.robust.successes, each.agreement.successes, -each.parameters.k))


def _merit(each: Candidate) -> float:
    return each.accuracy.value + each.robust.value


def _rate(which: NDArray[np.bool_]) -> Rate:
    return Rate(int(which.sum()), len(which))


def _soft_answers(surrogate: SoftKNN, embeddings: Floats) -> Labels:
    parts = [surrogate.log_scores(embeddings[i : i + AT_ONCE]).argmax(1) for i in range(0, len(embeddings), AT_ONCE)]
    return np.concatenate(parts).astype(np.int64)
