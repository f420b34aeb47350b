"""Choosing how neighbours vote, on images held out of index and training.

Three things count. Clean accuracy. Accuracy under attack: a sharp vote, of a low temperature, wins on clean images and is the
more easily attacked, as an attacker need reach only a few exemplars (docs/tried.md). And agreement: an evaluation attacks a
soft kNN in the vote's place, and one that answers otherwise says little about the vote.

So among the votes that the soft kNN of the same temperature agrees with, the one of the largest mean of clean and attacked
accuracy is taken. Both are means of the share of all images and the mean share of the classes, so that a class of few images
is not given up for the others; and k is tried only as far as each class can be answered (holdfast.model.reach).
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
from holdfast.model.reach import reach_of
from holdfast.model.retrieval.base import Retriever, nearest
from holdfast.model.retrieval.embeddings import ReadableBank
from holdfast.model.surrogate import SoftKNN
from holdfast.model.vote import VoteParameters, vote

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

KS = (15, 25, 50, 75, 100, 200, 400, 1000, 2000)
SMALL_KS = (1, 3, 5, 9)
"""Tried as well where the smallest class cannot win the least of KS by number."""

MOST_LEAD = 0.25
"""By how much nearer than all others the exemplars of a small class may have to be, in cosine similarity, before a vote is not
tried for it."""

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
        balanced: mean over the classes of the share of their images that is answered rightly.
        balanced_robust: likewise of the attacked images.

    """

    parameters: VoteParameters
    accuracy: Rate
    robust: Rate
    agreement: Rate
    balanced: float
    balanced_robust: float


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


def surrogates(bank: ReadableBank, classes: int, weights: NDArray[np.float64] | None = None) -> tuple[SoftKNN, ...]:
    """The soft kNN over the whole bank, at each temperature that is tried; `weights` of the classes as in `VoteParameters`."""
    embeddings = np.asarray(bank.embeddings)
    soft = (SoftKNN(embeddings, bank.labels, classes, temperature) for temperature in TEMPERATURES)
    return tuple(each.reweighed(weights) for each in soft)


def votes_to_try(counts: Labels, temperature: float, prior_correction: float = 0.0) -> list[VoteParameters]:
    """Every k that these exemplars are enough for, and at which each of their classes can be answered.

    Where there is none, those at which the class that is the hardest to answer has it the easiest.

    Args:
        counts: int64 [C], exemplars of each class.
        temperature: of the exponential weights.
        prior_correction: see `VoteParameters.corrected`.

    """
    size, smallest = int(counts.sum()), int(counts[counts > 0].min())
    wanted = (*SMALL_KS, *KS) if 2 * smallest < KS[0] else KS
    tried = [
        VoteParameters(k=k, weighting="exponential", temperature=temperature).corrected(counts, prior_correction)
        for k in [k for k in wanted if k <= size] or [size]
    ]
    leads = [max(each.lead for each in reach_of(counts, parameters) if each.exemplars) for parameters in tried]
    most = max(MOST_LEAD, min(leads))
    return [parameters for parameters, lead in zip(tried, leads, strict=True) if lead <= most]


def candidates(
    index: Retriever, soft: Sequence[SoftKNN], held_out: HeldOut, counts: Labels, prior_correction: float = 0.0
) -> tuple[Candidate, ...]:
    """Try every k and temperature that the index is large enough for.

    Args:
        index: the exemplars.
        soft: the surrogates of each temperature, corrected alike.
        held_out: what to compare the votes on.
        counts: int64 [C], exemplars of each class.
        prior_correction: see `VoteParameters.corrected`.

    """
    classes, to_try = len(counts), [votes_to_try(counts, surrogate.tau, prior_correction) for surrogate in soft]
    most = max(parameters.k for each in to_try for parameters in each)

    def neighbours(embeddings: Floats) -> tuple[Floats, Labels]:
        found = nearest(index, embeddings, most)
        return found.similarities, found.labels

    def answers(near: tuple[Floats, Labels], parameters: VoteParameters) -> Labels:
        similarities, labels = near
        return vote(similarities[:, : parameters.k], labels[:, : parameters.k], classes, parameters).labels

    clean, attacked = neighbours(held_out.embeddings), [neighbours(part) for part in held_out.attacked]
    tried = []
    for surrogate, votes in zip(soft, to_try, strict=True):
        agreed = _soft_answers(surrogate, held_out.embeddings)
        for parameters in votes:
            answered = answers(clean, parameters)
            right = answered == held_out.labels
            withstood = right[: len(attacked[0][0])].copy()
            for part in attacked:
                withstood &= answers(part, parameters) == held_out.labels[: len(withstood)]
            balanced, robust = (_balanced(which, held_out.labels[: len(which)]) for which in (right, withstood))
            rates = _rate(right), _rate(withstood), _rate(answered == agreed)
            tried.append(Candidate(parameters, *rates, balanced, robust))
    return tuple(tried)


def with_chosen_vote(
    manifest: Manifest, bundle: Bundle, index: Retriever, bank: ReadableBank, *, images: Pixels, held_out: HeldOut, quiet: bool
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
    counts, threat = np.bincount(bank.labels, minlength=len(manifest.class_names)), manifest.ball
    vote, labels = manifest.vote, held_out.labels[: len(images)]
    soft = surrogates(bank, len(counts), vote.corrected(counts).weights_of(len(counts)))
    with progress("attacking", len(images) * len(soft) * STEPS, quiet=quiet) as advance:
        attacked = tuple(embedded(bundle, attack(bundle, images, labels, each, threat, advance=advance)) for each in soft)
    tried = candidates(index, soft, HeldOut(held_out.embeddings, held_out.labels, attacked), counts, vote.prior_correction)
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
    return each.accuracy.value + each.balanced + each.robust.value + each.balanced_robust


def _balanced(which: NDArray[np.bool_], labels: Labels) -> float:
    """Mean over the classes among `labels` of the share of `which`; 0 without any."""
    return float(np.mean([which[labels == label].mean() for label in np.unique(labels)])) if len(labels) else 0.0


def _rate(which: NDArray[np.bool_]) -> Rate:
    return Rate(int(which.sum()), len(which))


def _soft_answers(surrogate: SoftKNN, embeddings: Floats) -> Labels:
    parts = [surrogate.log_scores(embeddings[i : i + AT_ONCE]).argmax(1) for i in range(0, len(embeddings), AT_ONCE)]
    return np.concatenate(parts).astype(np.int64)
