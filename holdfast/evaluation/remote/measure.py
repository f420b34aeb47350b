"""What a stranger finds out about a server who has its answers and nothing else: the report of a black box."""

import time
from collections.abc import Sequence
from math import inf, isnan
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from holdfast.attacks.search.worst_case import AttackOutcome
from holdfast.auditing import RemoteClassifier
from holdfast.bundle.threat_model import ThreatModel
from holdfast.client import Answer, ModelInfo
from holdfast.console import Progress
from holdfast.data import LabelledImages
from holdfast.evaluation.cache import ResultCache
from holdfast.evaluation.context import drawn
from holdfast.evaluation.plan import slug
from holdfast.evaluation.remote.attack import RemotePlan, RemoteRun, labels_of
from holdfast.evaluation.report import selective
from holdfast.evaluation.report.provenance import provenance_of
from holdfast.evaluation.report.results import Measured, Report, Selective, Subject, ThreatResult
from holdfast.intervals import Rate
from holdfast.model.answers import Ints

UNKNOWN = "not known"
"""Of a server that says nothing of it."""


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
    rows = drawn(len(test), plan.images, plan.seed)
    drawn_images = test.take(rows)
    labels = labels_of(drawn_images, remote.info)
    kept = ResultCache(cache, None if cache is None else _identity(remote.info, drawn_images, plan))
    with kept.timed():
        clean = remote.answers(drawn_images.images)
        clean_labels = np.array([answer.index for answer in clean], dtype=np.int64)
        run = RemoteRun(remote, drawn_images, labels, rows, clean_labels, plan, kept, progress, until)
        found = list[tuple[AttackOutcome, ThreatResult]]()
        for ball in plan.balls:
            smaller = [outcome for outcome, result in found if result.norm == ball.norm]
            found.append(run.attack(ball, smaller[-1] if smaller else None))
        attacked = [(outcome, remote.answers(outcome.adversarial)) for outcome, _ in found]
        seconds = kept.seconds + time.monotonic() - began
    right = clean_labels == labels
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
