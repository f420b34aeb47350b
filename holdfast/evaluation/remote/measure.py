"""What a stranger finds out about a server who has its answers and nothing else: the report of a black box."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
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
from holdfast.client import Answer, ModelInfo
from holdfast.console import Progress
from holdfast.data import LabelledImages
from holdfast.errors import ContractMismatchError, HoldfastError
from holdfast.evaluation.cache import ResultCache
from holdfast.evaluation.context import drawn
from holdfast.evaluation.plan import slug
from holdfast.evaluation.report import selective
from holdfast.evaluation.report.provenance import provenance_of
from holdfast.evaluation.report.results import Measured, Report, Selective, Subject, ThreatResult
from holdfast.evaluation.stages.threats import threat_result
from holdfast.interrupts import TimeUpError
from holdfast.intervals import Rate
from holdfast.model.answers import Ints

UNKNOWN = "not known"
"""Of a server that says nothing of it."""

DRAWS = 10
"""Of noise, for each image."""


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


def evaluate_remotely(
    remote: RemoteClassifier,
    test: LabelledImages,
    plan: RemotePlan,
    *,
    address: str,
    command: str = "evaluate_remotely",
    cache: Path | None = None,
    progress: Progress | None = None,
    until: float = inf,
) -> Report:
    """Attack a running server by its answers.

    Args:
        remote: asks the server.
        test: labelled images of the size that the server's encoder takes; classes are matched by name.
        plan: what is tried.
        address: of the server, for the report.
        command: likewise.
        cache: a directory for what is done; the same call goes on from there.
        progress: where to show a bar.
        until: what `time.monotonic` says when to stop, after the batch under way.

    Raises:
        ClientError: the server does not answer, or refuses.
        ContractMismatchError: the images do not fit the server, or it does not know their classes.
        TimeUpError: it is later than `until`; what was done is in `cache`.

    """
    began = time.monotonic()
    drawn_images = test.take(drawn(len(test), plan.images, plan.seed))
    labels = labels_of(drawn_images, remote.info)
    kept = ResultCache(cache, None if cache is None else _identity(remote.info, drawn_images, plan))
    run = RemoteRun(remote, drawn_images, labels, plan, kept, progress, until)
    with kept.timed():
        clean = remote.answers(drawn_images.images)
        found = list[tuple[AttackOutcome, ThreatResult]]()
        for ball in plan.balls:
            smaller = [outcome for outcome, result in found if result.norm == ball.norm]
            found.append(run.attack(ball, smaller[-1] if smaller else None))
        attacked = [(outcome, remote.answers(outcome.adversarial)) for outcome, _ in found]
        seconds = kept.seconds + time.monotonic() - began
    right = np.array([answer.index for answer in clean]) == labels
    provenance = provenance_of(command, plan.seed, seconds, torch.device("cpu"), f"{address}, by the server")
    return Report(
        subject=_subject(remote.info, test),
        provenance=provenance,
        clean=Measured.of(Rate(int(right.sum()), len(right))),
        attacked_images=len(labels),
        threats=tuple(result for _, result in found),
        curves=(),
        sanity_checks=(),
        detectors=(),
        selective=_curves(clean, right, attacked, labels, plan.balls),
        reliability=(),
        examples=(),
        cloud=None,
        training=(),
        black_box=_describe(address, remote, plan),
    )


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
        plan: what is tried.
        kept: what is done already.
        progress: where to show a bar; nowhere without.
        until: what `time.monotonic` says when the time is over.

    """

    remote: RemoteClassifier
    images: LabelledImages
    labels: Ints
    plan: RemotePlan
    kept: ResultCache
    progress: Progress | None = None
    until: float = inf

    def attack(self, ball: ThreatModel, smaller: AttackOutcome | None) -> tuple[AttackOutcome, ThreatResult]:
        """All attacks within one ball; what fooled within a smaller one of its norm is tried first.

        Raises:
            TimeUpError: the time is over.

        """
        worst_case = WorstCase(_victim(self.remote), self.images.images, self.labels, ball)
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
        return outcome, threat_result(ball, "answers alone", self.labels, outcome, inherited=inherited, tried=tried)


def _victim(remote: RemoteClassifier) -> Victim:
    """The server as attacks take a victim. What a stranger does not know is not there: an attack that asks for it fails."""

    def embed(pixels: Tensor) -> Tensor:
        raise HoldfastError(f"the server hands out no gradients: {len(pixels)} images were to be embedded by a stranger")

    nothing = TorchSoftKNN(torch.zeros(0, 1), torch.zeros(0, dtype=torch.int64), remote.classes, 1.0)
    return Victim(embed, nothing, remote.labels, remote.scores)


def _curves(
    clean: Sequence[Answer],
    right: NDArray[np.bool_],
    attacked: Sequence[tuple[AttackOutcome, Sequence[Answer]]],
    labels: Ints,
    balls: Sequence[ThreatModel],
) -> tuple[Selective, ...]:
    """Error against coverage, clean and attacked; nothing where the server says no credibility."""
    if any(isnan(answer.credibility) for answer in clean):
        return ()
    found = [Selective(name="clean", points=selective(_credibility(clean), right), images=len(right))]
    for ball, (_, answers) in zip(balls, attacked, strict=True):
        points = selective(_credibility(answers), np.array([answer.index for answer in answers]) == labels)
        found.append(Selective(name=str(ball), points=points, attacker="ignores it", images=len(right)))
    return tuple(found)


def _credibility(answers: Sequence[Answer]) -> NDArray[np.float64]:
    return np.array([answer.credibility for answer in answers], dtype=np.float64)


def _describe(address: str, remote: RemoteClassifier, plan: RemotePlan) -> str:
    knows = "its answers alone: labels and shares of the vote"
    if plan.transfers:
        knows += f", and the gradients of {', '.join(str(each).partition(',')[0] for each in plan.transfers)}"
    return (
        f"This is a running server at {address}, attacked over the network by somebody who knows {knows}. Its weights and"
        " exemplars were not known, so no attack followed its own gradients: who has the bundle finds far more. Answers were"
        f" asked for {remote.queries:,} images in the run that wrote this."
    )


def _subject(info: ModelInfo, test: LabelledImages) -> Subject:
    weights = f" at temperature {info.temperature:g}" if info.weighting == "exponential" else ""
    return Subject(
        name=info.name,
        encoder=UNKNOWN,
        objective=UNKNOWN,
        training_command=UNKNOWN,
        training_seconds=0.0,
        training_commit=UNKNOWN,
        parameters=0,
        encoder_bytes=0,
        index_bytes=0,
        encoder_sha256=info.encoder_sha256,
        index_sha256=UNKNOWN,
        embedding_dim=info.embedding_dim,
        exemplars=info.exemplars,
        vote=f"k = {info.k}, {info.weighting} weights{weights}",
        class_names=info.class_names,
        data=f"{len(test)} images of the auditor's",
        data_sha256=test.sha256(),
        abstain_below=info.abstain_below,
    )


def _identity(info: ModelInfo, images: LabelledImages, plan: RemotePlan) -> dict[str, object]:
    return {
        "server": [info.name, info.created, info.encoder_sha256, info.exemplars, info.exemplars_revision],
        "images": images.sha256(),
        "balls": [slug(ball) for ball in plan.balls],
        "attacks": [repr(attack) for attack in plan.attacks],
        "seed": plan.seed,
        "batch size": plan.batch_size,
    }
