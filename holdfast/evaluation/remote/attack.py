"""Attacks on a running server by its answers, within one ball after the other."""

import time
from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from torch import Tensor

from holdfast.attacks.attack import Attack
from holdfast.attacks.noise import Noise
from holdfast.attacks.search.suite import AttackSuite
from holdfast.attacks.search.worst_case import NAME, AttackOutcome, WorstCase
from holdfast.attacks.surrogate import TorchSoftKNN
from holdfast.attacks.third_party import HopSkip, SquareScores
from holdfast.attacks.victim import Victim
from holdfast.auditing import RemoteClassifier
from holdfast.bundle.threat_model import ThreatModel
from holdfast.client import ModelInfo
from holdfast.console import Progress
from holdfast.data import LabelledImages
from holdfast.errors import ContractMismatchError, HoldfastError
from holdfast.evaluation.cache import ResultCache
from holdfast.evaluation.plan import slug
from holdfast.evaluation.report.results import ThreatResult
from holdfast.evaluation.stages.threats import threat_result
from holdfast.evaluation.suites import DRAWS
from holdfast.interrupts import TimeUpError
from holdfast.model.answers import Ints


@dataclass(frozen=True)
class RemotePlan:
    """What is tried.

    Attributes:
        balls: what the attackers may do, in the order of `holdfast.evaluation.plan.in_order`.
        images: test images that are attacked, drawn by `seed`; None: all.
        queries: of each black-box attack, per image.
        seed: of the draw of images and of all attacks.
        batch_size: images attacked at once.
        transfers: attacks by bundles at hand, which are tried first.

    """

    balls: tuple[ThreatModel, ...]
    images: int | None = 100
    queries: int = 500
    seed: int = 0
    batch_size: int = 64
    transfers: tuple[Attack, ...] = ()

    @property
    def attacks(self) -> tuple[Attack, ...]:
        """In their order: the dearest come last, and see few survivors."""
        noise = (Noise() for _ in range(DRAWS))
        return (*self.transfers, *noise, SquareScores(queries=self.queries), HopSkip(queries=self.queries))


def labels_of(test: LabelledImages, info: ModelInfo) -> Ints:
    """The labels of a set as the server numbers its classes: int64 [N].

    Raises:
        ContractMismatchError: the server takes images of another size, or does not know a class.
        HoldfastError: there are no images.

    """
    if len(test) == 0:
        raise HoldfastError("there are no test images to attack")
    if test.images.shape[1:] != info.input_shape:
        raise ContractMismatchError(
            f"the images are {test.images.shape[1:]}, and the server's encoder takes {info.input_shape}"
        )
    if missing := sorted(set(test.class_names) - set(info.class_names)):
        raise ContractMismatchError(
            f"the server does not know the classes {', '.join(missing)}; it knows {', '.join(info.class_names)}"
        )
    numbers = np.array([info.class_names.index(name) for name in test.class_names], dtype=np.int64)
    found: Ints = numbers[test.labels]
    return found


@dataclass(frozen=True, eq=False)
class RemoteRun:
    """A server under attack.

    Attributes:
        remote: asks it.
        images: that are attacked.
        labels: int64 [N], as the server numbers its classes.
        rows: int64 [N], those of the images in the test set.
        clean_labels: int64 [N], the server's answers to the images.
        plan: what is tried.
        kept: what is done already.
        progress: where to show a bar; nowhere without.
        until: what `time.monotonic` says when the time is over.

    """

    remote: RemoteClassifier
    images: LabelledImages
    labels: Ints
    rows: Ints
    clean_labels: Ints
    plan: RemotePlan
    kept: ResultCache
    progress: Progress | None = None
    until: float = inf

    def attack(self, ball: ThreatModel, smaller: AttackOutcome | None) -> tuple[AttackOutcome, ThreatResult]:
        """All attacks within one ball; what fooled within a smaller one of its norm is tried first.

        Raises:
            TimeUpError: the time is over.

        """
        worst_case = WorstCase(_victim(self.remote), self.images.images, self.labels, ball, self.clean_labels)
        right = worst_case.survivors
        if smaller is not None:
            worst_case.inherit(np.array(smaller.found_by, dtype=NAME), smaller.adversarial)
        inherited = right - worst_case.survivors

        def watch(*_: int) -> None:
            if time.monotonic() >= self.until:
                raise TimeUpError(f"the minutes are over, within {ball}")

        suite, store = AttackSuite(self.plan.attacks, self.plan.batch_size), self.kept.file(slug(ball))
        tried = suite.run(worst_case, seed=self.plan.seed, progress=self.progress, store=store, watch=watch)
        outcome = worst_case.outcome()
        return outcome, threat_result(
            ball, "answers alone", self.labels, outcome, rows=self.rows, inherited=inherited, tried=tried
        )


def _victim(remote: RemoteClassifier) -> Victim:
    """The server as attacks take a victim. What a stranger does not know is not there: an attack that asks for it fails."""

    def embed(pixels: Tensor) -> Tensor:
        raise HoldfastError(f"the server hands out no gradients: {len(pixels)} images were to be embedded by a stranger")

    nothing = TorchSoftKNN(torch.zeros(0, 1), torch.zeros(0, dtype=torch.int64), remote.classes, 1.0)
    return Victim(embed, nothing, remote.labels, remote.scores)
