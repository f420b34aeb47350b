"""The answer as served: embed, search, vote, decide. The server, the evaluation and the benchmarks all call this."""

import copy
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Answers, Floats, Ints, Neighbours
from holdfast.model.credibility import Calibration, credibility, p_values
from holdfast.model.encoder.onnx import Encoder
from holdfast.model.judgement.distance import distance_p_values, is_unknown, kth_distance
from holdfast.model.judgement.feature_shift import feature_shift_radius
from holdfast.model.judgement.poison import NOT_KNOWN, poison_tolerance
from holdfast.model.judgement.softmax import softmax_response
from holdfast.model.preprocess import Pixels
from holdfast.model.prototypes import PROTOTYPES
from holdfast.model.retrieval.base import SPARE, Exportable, Retriever, Summarised, canonical
from holdfast.model.retrieval.table import finds_all
from holdfast.model.surrogate import SoftKNN, Surrogate, contest
from holdfast.model.vote import VoteParameters, vote

_NONE = np.empty(0)


@dataclass(frozen=True, slots=True)
class Retrieval:
    """A batch embedded and searched, not yet decided.

    Attributes:
        embeddings: float32 [N, D].
        neighbours: the k nearest exemplars of each and a few more, as the retriever put them in order.

    """

    embeddings: Floats
    neighbours: Neighbours

    def take(self, rows: NDArray[np.intp]) -> "Retrieval":
        """Some of the images, by their numbers."""
        near = self.neighbours
        return Retrieval(self.embeddings[rows], Neighbours(near.ids[rows], near.labels[rows], near.similarities[rows]))


class Classifier:
    """Classifies batches by the vote of the nearest exemplars. `Bundle.classifier()` makes one of a bundle's parts.

    Nothing changes after construction, so threads may share one: ONNX Runtime's sessions and faiss's flat search take
    concurrent calls.

    Args:
        encoder: embeds images.
        retriever: finds exemplars and their labels, which lie in [0, classes).
        classes: number of classes C.
        vote: how neighbours vote.
        calibration: of credibility; None where there is none.
        surrogate_tau: temperature of the soft kNN behind the soft margin.

    Attributes:
        surrogate: that soft kNN; None where the retriever neither keeps prototypes of its exemplars nor exports them, and soft
            margins are then NaN.

    """

    def __init__(
        self,
        encoder: Encoder,
        retriever: Retriever,
        *,
        classes: int,
        vote: VoteParameters,
        calibration: Calibration | None,
        surrogate_tau: float,
    ) -> None:
        self._encoder, self._retriever = encoder, retriever
        self._classes, self._vote, self._calibration = classes, vote, calibration
        self.surrogate: Surrogate | None = _surrogate_of(retriever, classes, surrogate_tau, vote.weights_of(classes))

    @property
    def retriever(self) -> Retriever:
        """The exemplars."""
        return self._retriever

    @property
    def calibration(self) -> Calibration | None:
        """Of credibility; None where there is none."""
        return self._calibration

    def with_index(self, retriever: Retriever, classes: int, surrogate: Surrogate | None) -> "Classifier":
        """The same encoder, vote and calibration over other exemplars. It takes microseconds, whatever their number.

        Args:
            retriever: finds exemplars and their labels, which lie in [0, classes).
            classes: number of classes C.
            surrogate: the soft kNN over them, of C classes; None where there is none.

        """
        other = copy.copy(self)
        other._retriever, other._classes, other.surrogate = retriever, classes, surrogate  # noqa: SLF001 - its own
        return other

    def with_vote(self, vote: VoteParameters) -> "Classifier":
        """The same classifier with another vote. Its soft kNN stays what it is: weigh the classes of that alike."""
        other = copy.copy(self)
        other._vote = vote  # noqa: SLF001 - its own
        return other

    def with_calibration(self, calibration: Calibration | None) -> "Classifier":
        """The same classifier, calibrated otherwise."""
        other = copy.copy(self)
        other._calibration = calibration  # noqa: SLF001 - its own
        return other

    def embed(self, images: Pixels) -> Floats:
        """Embeddings float32 [N, D] of uint8 [N, H, W, C]."""
        return self._encoder.embed(images)

    def classify(self, images: Pixels) -> Answers:
        """Classify uint8 [N, H, W, C] images that follow the bundle's input contract."""
        return self.decide(self.retrieve(images))

    def retrieve(self, images: Pixels) -> Retrieval:
        """Embed and search: all that a device does. Images as in `classify`."""
        embeddings = self._encoder.embed(images)
        return Retrieval(embeddings, self._retriever.search(embeddings, self._vote.k + SPARE))

    def decide(self, retrieval: Retrieval) -> Answers:
        """Put neighbours in order, vote, and say how far the vote can be trusted: all that is left to the CPU."""
        embeddings, k = retrieval.embeddings, self._vote.k
        neighbours = canonical(retrieval.neighbours, k)
        outcome = vote(neighbours.similarities, neighbours.labels, self._classes, self._vote)
        abstain = neighbours.labels[:, 0] < 0
        if self._calibration is None:
            credible, confident = np.full((2, len(embeddings)), np.nan)
        else:
            credible, confident = credibility(outcome.shares, outcome.labels, self._calibration)
            abstain = abstain | (credible < self._calibration.abstain_below)
        margin, response = self._soft_vote(embeddings, outcome.labels)
        distance = kth_distance(neighbours)
        if self._calibration is not None and self._calibration.unknown_above is not None:
            abstain = abstain | is_unknown(distance, self._calibration.unknown_above)
        calibrated = _NONE if self._calibration is None else self._calibration.distances
        return Answers(
            embeddings=embeddings,
            labels=outcome.labels,
            probabilities=outcome.probabilities,
            credibility=credible,
            confidence=confident,
            abstain=abstain,
            soft_margin=margin,
            kth_distance=distance,
            kth_distance_p_value=distance_p_values(distance, calibrated),
            softmax_response=response,
            poison_tolerance=np.full(len(embeddings), NOT_KNOWN),
            feature_shift=np.full(len(embeddings), np.nan),
            neighbours=neighbours,
        )

    def certified(self, retrieval: Retrieval, answers: Answers, rows: NDArray[np.intp]) -> Answers:
        """Answers of `decide`, with poison tolerance and feature shift for some of them.

        They are only known where the index finds all of the nearest exemplars; the answers are left as they are elsewhere.

        Args:
            retrieval: what was decided.
            answers: what came of it.
            rows: the numbers of the images to certify.

        """
        if not finds_all(self._retriever):
            return answers
        near, tolerance, shift = retrieval.neighbours, answers.poison_tolerance.copy(), answers.feature_shift.copy()
        tolerance[rows] = self.poison_tolerance(answers, rows)
        complete = near.ids.shape[1] >= self._retriever.size
        asked = near.similarities[rows], near.labels[rows], answers.labels[rows]
        radius = feature_shift_radius(*asked, self._classes, self._vote, complete=complete)
        shift[rows] = np.where(near.ids[rows, 0] < 0, np.nan, radius)
        return replace(answers, poison_tolerance=tolerance, feature_shift=shift)

    def poison_tolerance(self, answers: Answers, rows: NDArray[np.intp]) -> Ints:
        """Of some answers: int64 [n]; NOT_KNOWN where the index may miss neighbours, or found none."""
        if not finds_all(self._retriever):
            return np.full(len(rows), NOT_KNOWN)
        near = answers.neighbours
        voted = near.similarities[rows], near.labels[rows], answers.labels[rows]
        return poison_tolerance(*voted, self._classes, self._vote)

    def p_values(self, answers: Answers) -> NDArray[np.float64] | None:
        """The p-value of every label for answers of this classifier: float64 [N, C] in (0, 1]; None without a calibration."""
        if self._calibration is None:
            return None
        near = answers.neighbours
        return p_values(vote(near.similarities, near.labels, self._classes, self._vote).shares, self._calibration)

    def _soft_vote(self, embeddings: Floats, labels: Ints) -> tuple[Floats, Floats]:
        """Soft margin and softmax response of each answer."""
        if self.surrogate is None:
            unknown = np.full(len(embeddings), np.nan, dtype=np.float32)
            return unknown, unknown
        scores = self.surrogate.log_scores(embeddings)
        own, other, _ = contest(scores, labels)
        return own - other, softmax_response(scores, labels)


def _surrogate_of(retriever: Retriever, classes: int, tau: float, weights: NDArray[np.float64] | None) -> SoftKNN | None:
    if isinstance(retriever, Summarised):
        return SoftKNN.over(retriever.prototypes, classes, tau).reweighed(weights)
    if not isinstance(retriever, Exportable):
        return None
    bank = retriever.export()
    return SoftKNN.compressed(bank.embeddings, bank.labels, classes, tau, prototypes=PROTOTYPES).reweighed(weights)
