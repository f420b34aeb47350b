"""How well a score ranks answers: errors among those that are given, as more and more are withheld. Clean and attacked.

Three scores on one network: the abstain logit's probability (Huang et al.), softmax response (the largest of the C
probabilities; Feng et al. 2023, arXiv 2206.09034), and credibility, the conformal p-value of the kNN's vote. The attack knows
which score it faces and aims at it: it looks for the wrong answer that the score trusts most. It is projected gradient descent
from one random start on that score's own gradient, for credibility on a soft kNN's; a stronger one may find more.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from holdfast.attacks.pgd import pgd
from holdfast.bundle.threat_model import ThreatModel
from holdfast.data import Splits
from holdfast.intervals.paired import Bits
from holdfast.model.answers import Floats
from holdfast.model.credibility import Calibration, calibrate_retriever, credibility
from holdfast.model.retrieval.base import Bank, nearest
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.vote import VoteParameters, vote
from reproduce.kept_results import Figures, read, written
from reproduce.networks import TrainedNetwork, batches

COVERAGES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
SOFTMAX, ABSTAIN, CREDIBILITY = "softmax response", "abstain logit", "credibility"
STEPS = 20
TAU = 0.05

Scores = NDArray[np.float64]


def areas(wrong: Bits, scores: Scores) -> float:
    """Area under the curve of errors over coverage, in [0, 1]: the mean error over all coverages.

    Answers of equal scores are withheld alike.

    Args:
        wrong: bool [N].
        scores: float [N], the more trusted the larger.

    """
    return float(running_errors(wrong, scores).mean())


def running_errors(wrong: Bits, scores: Scores) -> NDArray[np.float64]:
    """The share of errors among the n most trusted answers, n = 1 to N: float64 [N]."""
    order = np.argsort(-scores, kind="stable")
    _, groups, counts = np.unique(-scores[order], return_inverse=True, return_counts=True)
    shared = np.bincount(groups, wrong[order]) / counts
    errors: NDArray[np.float64] = np.cumsum(shared[groups]) / np.arange(1, len(scores) + 1)
    return errors


def selective_figures(network: TrainedNetwork, splits: Splits, k: int, threat: ThreatModel, attacked: int) -> Figures:
    """Of each score: which test images are answered wrongly and how much each answer is trusted, clean and attacked."""
    scores = _Scores(network, splits, k)
    rows = np.linspace(0, len(splits.test) - 1, min(attacked, len(splits.test))).astype(np.int64)
    figures: dict[str, Any] = {}
    for name in scores.names:
        clean = scores.judged(name, splits.test.images)
        worst = scores.attacked(name, splits.test.images[rows], splits.test.labels[rows], threat)
        figures[name] = {
            "wrong": written(clean[1] != splits.test.labels),
            "scores": np.round(clean[0], 6).tolist(),
            "attacked_wrong": written(worst[1] != splits.test.labels[rows]),
            "attacked_scores": np.round(worst[0], 6).tolist(),
        }
    return {"scores": figures}


def read_scores(figures: Figures, name: str, *, attacked: bool = False) -> tuple[Bits, Scores]:
    """Wrong bool [N] and scores float64 [N], as `selective_figures` keeps them."""
    before, found = "attacked_" if attacked else "", figures["scores"][name]
    return read(found[f"{before}wrong"]), np.array(found[f"{before}scores"])


class _Scores:
    """The scores of one network, each as a function of images and, for who attacks it, as a loss."""

    def __init__(self, network: TrainedNetwork, splits: Splits, k: int) -> None:
        self.network, self._vote, self._classes = network, VoteParameters(k=k), network.classes
        bank, _ = network.look(splits.train.images)
        self._bank, self._labels = torch.from_numpy(bank), torch.from_numpy(splits.train.labels)
        self._index = FlatIndex.build(Bank(bank, np.arange(len(bank)), splits.train.labels))
        held_out, _ = network.look(splits.calibration.images)
        self._calibration: Calibration = calibrate_retriever(
            self._index, self._vote, held_out, splits.calibration.labels, classes=self._classes
        )
        abstains = len(network.weight) > network.classes
        self.names = (SOFTMAX, ABSTAIN, CREDIBILITY) if abstains else (SOFTMAX, CREDIBILITY)

    def judged(self, name: str, images: NDArray[np.uint8]) -> tuple[Scores, NDArray[np.int64]]:
        """Scores and answers of uint8 [N, H, W, 3] images."""
        return self._judged(name, *self.network.look(images))

    def _judged(self, name: str, embeddings: Floats, logits: Floats) -> tuple[Scores, NDArray[np.int64]]:
        if name == CREDIBILITY:
            found = nearest(self._index, embeddings, self._vote.k)
            outcome = vote(found.similarities, found.labels, self._classes, self._vote)
            return credibility(outcome.shares, outcome.labels, self._calibration)[0], outcome.labels
        answers = self.network.answers(logits)
        if name == SOFTMAX:
            return _softmax(logits[:, : self._classes]).max(1), answers
        return 1 - _softmax(logits)[:, -1], answers

    def attacked(
        self, name: str, images: NDArray[np.uint8], labels: NDArray[np.int64], threat: ThreatModel
    ) -> tuple[Scores, NDArray[np.int64]]:
        """Scores and answers of the most trusted wrong answer that is found; as they are clean where none is."""
        scores, answers = self.judged(name, images)
        start = 0
        for number, pixels in enumerate(batches(images)):
            rows = slice(start, start + len(pixels))
            truth = torch.from_numpy(labels[rows])
            moved = pgd(
                partial(self._trust_in_wrong, name, truth),
                pixels,
                threat,
                steps=STEPS,
                step_size=2.5 * threat.epsilon / STEPS,
                generator=torch.Generator().manual_seed(number),
                keep="best",
            )
            served = (moved * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
            found, said = self.judged(name, served)
            better = (said != labels[rows]) & ((answers[rows] == labels[rows]) | (found > scores[rows]))
            scores[rows], answers[rows] = np.where(better, found, scores[rows]), np.where(better, said, answers[rows])
            start += len(pixels)
        return scores, answers

    def _trust_in_wrong(self, name: str, truth: Tensor, pixels: Tensor) -> Tensor:
        """The logarithm of the probability that the likeliest wrong class has, by what the score is made of: [N]."""
        embeddings = self.network.encoder(pixels).float()
        if name == CREDIBILITY:
            similarities = F.normalize(embeddings, dim=1) @ self._bank.T / TAU
            shares = torch.stack([similarities[:, self._labels == label].logsumexp(1) for label in range(self._classes)], dim=1)
            logs = F.log_softmax(shares, dim=1)
        else:
            logits = self.network.judge(embeddings)
            logs = F.log_softmax(logits if name == ABSTAIN else logits[:, : self._classes], dim=1)[:, : self._classes]
        return logs.masked_fill(F.one_hot(truth, self._classes).bool(), -torch.inf).amax(1)


def _softmax(logits: Floats) -> Scores:
    raised = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    shares: Scores = raised / raised.sum(1, keepdims=True)
    return shares
