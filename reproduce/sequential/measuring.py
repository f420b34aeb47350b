"""How many test images the encoder of a run answers rightly, by its neighbours and by a linear classifier."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from holdfast.data import LabelledImages, Splits
from holdfast.data.streams import STYLES, StreamConfig, chunks_of, in_styles, styled
from holdfast.model.answers import Floats
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives import ImageBatch
from reproduce.embeddings import embed, linear_right, neighbours_answers
from reproduce.kept_results import Figures, read, written
from reproduce.sequential.moving import DIRECTIONS, moved
from reproduce.sequential.scales import StreamScale

Scores = NDArray[np.float64]
"""Of each test image the share of its looks that is answered rightly, in [0, 1]: of one look, but for order `domain`."""


@dataclass(frozen=True, eq=False)
class StreamEvaluation:
    """What encoders are asked, the same for all runs of an order.

    Attributes:
        splits: the labelled set.
        stream: its chunks.
        scale: the vote, and how many exemplars the forgetting curve has.

    """

    splits: Splits
    stream: StreamConfig
    scale: StreamScale

    @cached_property
    def exemplars(self) -> LabelledImages:
        """The whole training part, each image as the stream shows it."""
        return in_styles(self.splits.train, self.stream)

    @cached_property
    def looks(self) -> list[NDArray[np.uint8]]:
        """The test images: as they are, or in order `domain` in all styles."""
        test = self.splits.test.images
        return [styled(test, style) for style in STYLES] if self.stream.order == "domain" else [test]

    def final(self, encoder: ImageEncoder) -> Figures:
        """Of a finished run: right answers of each look by the kNN and by the linear probe, both on all exemplars."""
        bank = embed(encoder, self.exemplars.images)
        queries = [embed(encoder, look) for look in self.looks]
        truth = self.splits.test.labels
        linear = linear_right(bank, self.exemplars.labels, np.concatenate(queries), np.tile(truth, len(queries)))
        return {
            "knn": [written(self._answers(bank, self.exemplars.labels, each) == truth) for each in queries],
            "linear": [written(part) for part in np.array_split(linear, len(queries))],
        }

    def held_out(self, encoder: ImageEncoder) -> float:
        """The share of calibration images that the kNN answers rightly: what settings are chosen by."""
        images = self.splits.calibration
        bank = embed(encoder, self.exemplars.images)
        return float(np.mean(self._answers(bank, self.exemplars.labels, embed(encoder, images.images)) == images.labels))

    def moved(self, encoder: ImageEncoder) -> Figures:
        """Right answers where the weights are moved, on a part of the exemplars: by radius a list, one for each direction."""
        images, labels = self._part()
        seen = ImageBatch.whole(torch.from_numpy(images), torch.from_numpy(labels))

        def right(radius: float, seed: int) -> str:
            there = moved(encoder, radius, seed, seen)
            return written(self._answers(embed(there, images), labels, embed(there, self.looks[0])) == self.splits.test.labels)

        return {
            f"{radius:g}": [right(radius, seed) for seed in range(DIRECTIONS if radius else 1)] for radius in self.scale.radii
        }

    def first_chunk(self, encoder: ImageEncoder) -> Figures:
        """Right answers to what chunk 1 is of, on a part of the exemplars: a point of the forgetting curve."""
        images, labels = self._part()
        asked = self._of_first_chunk()
        right = self._answers(embed(encoder, images), labels, embed(encoder, self.looks[0][asked]))
        return {"knn": written(right == self.splits.test.labels[asked])}

    def _part(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Images and labels of as many exemplars as `curve_bank` says."""
        rows = np.random.default_rng(0).permutation(len(self.exemplars))[: self.scale.curve_bank]
        return self.exemplars.images[rows], self.exemplars.labels[rows]

    def _of_first_chunk(self) -> NDArray[np.int64]:
        """Test images of the classes of chunk 1, in its style: all where it has all classes."""
        classes = np.unique(self.splits.train.labels[chunks_of(self.splits.train, self.stream)[0]])
        return np.flatnonzero(np.isin(self.splits.test.labels, classes))

    def _answers(self, bank: Floats, labels: NDArray[np.int64], queries: Floats) -> NDArray[np.int64]:
        return neighbours_answers(bank, labels, queries, len(self.splits.class_names), self.scale.vote)


def scores(looks: Sequence[str]) -> Scores:
    """Of figures as they are kept: the mean over the looks of each image, float64 [N]."""
    means: Scores = np.mean([read(look) for look in looks], axis=0, dtype=np.float64)
    return means
