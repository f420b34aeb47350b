"""The answer as served: embed, search, vote, judge. The server, the evaluation and the benchmarks all call this."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.reader import Bundle
from holdfast.model.answers import Answers, Floats
from holdfast.model.credibility import credibility
from holdfast.model.preprocess import Pixels
from holdfast.model.retrieval.flat import Candidates, canonical
from holdfast.model.surrogate import SoftKNN
from holdfast.model.vote import vote

# Above this many exemplars the soft margin is computed on prototypes: a whole bank of 50,000 would cost each answer as much
# as a small encoder does.
SURROGATE_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Retrieval:
    """A batch embedded and searched, not yet judged: float32 [N, D] embeddings, and the nearest exemplars of each."""

    embeddings: Floats
    candidates: Candidates


class Classifier:
    """Classifies batches by the vote of the nearest exemplars.

    Nothing changes after construction, so threads may share one: ONNX Runtime's sessions and faiss's flat search take
    concurrent calls.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._encoder, self._index, self._exemplars = bundle.encoder, bundle.index, bundle.exemplars
        self._classes = len(bundle.class_names)
        embeddings, ids = self._index.vectors()
        # Ids that are 0..M-1 in order, as the index builder writes them, are their own row numbers.
        self._ids_are_rows = np.array_equal(ids, np.arange(len(ids)))
        self.surrogate = SoftKNN.compressed(
            embeddings,
            self._exemplars.labels,
            self._classes,
            bundle.manifest.surrogate_tau,
            prototypes=SURROGATE_ROWS,
        )

    def classify(self, images: Pixels) -> Answers:
        """Classify uint8 [N, H, W, C] images that follow the bundle's input contract."""
        return self.decide(self.retrieve(images))

    def retrieve(self, images: Pixels) -> Retrieval:
        """Embed and search: all that a device does. Images as in `classify`."""
        embeddings = self._encoder.embed(images)
        return Retrieval(embeddings, self._index.candidates(embeddings, self.bundle.manifest.vote.k))

    def decide(self, retrieval: Retrieval) -> Answers:
        """Put neighbours in order, vote, and say how far the vote can be trusted: all that is left to the CPU."""
        manifest, embeddings = self.bundle.manifest, retrieval.embeddings
        neighbours = canonical(*retrieval.candidates, manifest.vote.k)
        labels = self._labels_of(neighbours.ids)
        outcome = vote(neighbours.similarities, labels, self._classes, manifest.vote)
        if manifest.calibration is None:
            credible, confident = np.full((2, len(embeddings)), np.nan)
            abstain = np.zeros(len(embeddings), dtype=bool)
        else:
            credible, confident = credibility(outcome.counts, manifest.calibration)
            abstain = credible < manifest.calibration.abstain_below
        return Answers(
            embeddings=embeddings,
            labels=outcome.labels,
            probabilities=outcome.probabilities,
            credibility=credible,
            confidence=confident,
            abstain=abstain,
            soft_margin=self.surrogate.margin(embeddings, outcome.labels),
            kth_distance=1 - neighbours.similarities[:, -1],
            neighbours=neighbours,
            neighbour_labels=labels,
        )

    def _labels_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._exemplars.labels[ids] if self._ids_are_rows else self._exemplars.labels_of(ids)
