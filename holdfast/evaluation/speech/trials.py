"""Trials across channels: the same speaker in two channels, and two speakers in one, as pictures of joined recordings.

A channel is a room, a microphone and a noise floor (`holdfast.data.speech.channels`). An embedding that knows channels as well
as speakers takes two speakers in one channel for alike, and one speaker in two channels for different. In the noisy condition
babble of other speakers is added, so many decibels below the voice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from holdfast.data.speech.channels import Channel, noise, with_noise
from holdfast.evaluation.speech.errors import crossing, equal_error_rate, least_cost, ranked_curves, ranks
from holdfast.model.answers import Floats, Ints
from holdfast.model.images.pixels import Pixels
from holdfast.model.speech.pictures import WINDOW, Samples, pictures

JOINED = 4
"""Recordings of an item, of which the middle second is looked at."""


@dataclass(frozen=True, eq=False)
class TrialSet:
    """Pairs of pictures.

    Attributes:
        pictures: uint8 [N, 64, 64, 3].
        speakers: int64 [N], whose voice each is.
        targets: int64 [n, 2], pairs of one speaker in two channels.
        others: int64 [m, 2], pairs of two speakers in one channel.

    """

    pictures: Pixels
    speakers: Ints
    targets: Ints
    others: Ints


@dataclass(frozen=True)
class TrialSize:
    """How many trials: items of each speaker, channels that each item is heard in, and pairs of each kind."""

    items: int = 40
    channels: int = 10
    pairs: int = 3_000


def draw_trials(voices: Sequence[Sequence[Samples]], size: TrialSize, *, babble: float | None, seed: int = 0) -> TrialSet:
    """Draw a set of trials; with the same seed the clean and the noisy set have the same items, channels and pairs.

    Args:
        voices: of each speaker, recordings float32 [n] at 8 kHz; two speakers or more.
        size: how many.
        babble: decibels of the voice above babble of the other speakers; None adds none.
        seed: of all that is drawn.

    """
    random = np.random.default_rng(seed)
    channels = [Channel.drawn(random) for _ in range(size.channels)]
    noises = np.random.default_rng([seed, 1])
    drawn: list[Pixels] = []
    for speaker, own in enumerate(voices):
        others = [recording for place, several in enumerate(voices) if place != speaker for recording in several]
        for _ in range(size.items):
            spoken = _item(own, random)
            for channel in channels:
                heard = channel.apply(spoken)
                if babble is not None:
                    heard = with_noise(heard, noise("babble", len(heard), noises, others), babble)
                drawn.append(pictures(heard)[:1])
    speakers = np.repeat(np.arange(len(voices)), size.items * size.channels)
    return TrialSet(np.concatenate(drawn), speakers, *_pairs(len(voices), size, random))


def _item(own: Sequence[Samples], random: np.random.Generator) -> Samples:
    """A second of recordings joined, each of the same loudness."""
    chosen = [own[place] for place in random.permutation(len(own))[:JOINED].tolist()]
    joined = np.concatenate([one / max(float(np.sqrt(np.mean(np.square(one)))), 1e-6) for one in chosen]) * np.float32(0.1)
    joined = np.resize(joined, max(len(joined), WINDOW))
    start = (len(joined) - WINDOW) // 2
    item: Samples = joined[start : start + WINDOW].astype(np.float32)
    return item


def _pairs(speakers: int, size: TrialSize, random: np.random.Generator) -> tuple[Ints, Ints]:
    """Pairs of numbers of pictures, which stand in order of speaker, item and channel."""

    def place(speaker: Ints, item: Ints, channel: Ints) -> Ints:
        return (speaker * size.items + item) * size.channels + channel

    one, item, channel = (random.integers(0, most, size.pairs) for most in (speakers, size.items, size.channels))
    another_item = (item + random.integers(1, size.items, size.pairs)) % size.items
    another_channel = (channel + random.integers(1, size.channels, size.pairs)) % size.channels
    targets = np.stack([place(one, item, channel), place(one, another_item, another_channel)], 1)
    first, item, channel = (random.integers(0, most, size.pairs) for most in (speakers, size.items, size.channels))
    second = (first + random.integers(1, speakers, size.pairs)) % speakers
    others = np.stack([place(first, item, channel), place(second, random.integers(0, size.items, size.pairs), channel)], 1)
    return targets, others


@dataclass(frozen=True, eq=False)
class TrialScores:
    """Cosines of trials, and whose voices they are of.

    targets: float32 [n]; target_speakers: int64 [n]. others: float32 [m]; other_speakers: int64 [m, 2].
    """

    targets: Floats
    target_speakers: Ints
    others: Floats
    other_speakers: Ints

    @classmethod
    def of(cls, trials: TrialSet, embeddings: Floats) -> "TrialScores":
        """Scores by embeddings float32 [N, D] of unit length, of the set's pictures."""
        cosines = [
            np.einsum("nd,nd->n", embeddings[pairs[:, 0]], embeddings[pairs[:, 1]]) for pairs in (trials.targets, trials.others)
        ]
        return cls(cosines[0], trials.speakers[trials.targets[:, 0]], cosines[1], trials.speakers[trials.others])

    @property
    def equal_error_rate(self) -> float:
        """Of all trials, 0 to 1."""
        return equal_error_rate(self.targets, self.others)

    @property
    def least_cost(self) -> float:
        """The least detection cost, 0 to 1."""
        return least_cost(self.targets, self.others)

    def rate_of(self, drawn: NDArray[np.int64]) -> float:
        """The equal error rate where speakers are drawn with repetitions, int64 [n]: for a bootstrap over speakers.

        A trial counts as often as its speakers were drawn, one of two speakers as often as the product says. Where a single
        speaker was drawn there are no trials of two, and the rate is 0.
        """
        counts = np.bincount(drawn, minlength=int(self.other_speakers.max(initial=0)) + 1).astype(np.float64)
        others = counts[self.other_speakers].prod(axis=1)
        if not others.any():
            return 0.0
        (order, last), targets = self._ranks, counts[self.target_speakers]
        zeros = np.zeros(len(others)), np.zeros(len(targets))
        ranked = np.concatenate([targets, zeros[0]])[order], np.concatenate([zeros[1], others])[order]
        return crossing(*ranked_curves(*ranked, last))

    def interval(self, draws: int = 1_000, seed: int = 0) -> tuple[float, float]:
        """95 % percentile interval of the equal error rate, by the bootstrap over speakers.

        Draws of one speaker alone, which have no trials of two, are not counted.

        Args:
            draws: of as many speakers as there are.
            seed: of the draws.

        """
        random, speakers = np.random.default_rng(seed), np.unique(self.target_speakers)
        drawn = (random.choice(speakers, len(speakers)) for _ in range(draws))
        rates = [self.rate_of(each) for each in drawn if len(np.unique(each)) > 1]
        low, high = np.percentile(rates, [2.5, 97.5]) if rates else (0.0, 1.0)
        return float(low), float(high)

    @cached_property
    def _ranks(self) -> tuple[Ints, NDArray[np.bool_]]:
        return ranks(self.targets, self.others)
