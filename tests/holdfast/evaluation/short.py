"""Short evaluations, and attacks that record what they are asked."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from holdfast.attacks.attack import Attack, AttackBatch, AttackKind, PGDAttack
from holdfast.attacks.losses import AttackLoss
from holdfast.bundle.reader import Bundle
from holdfast.bundle.threat_model import ThreatModel
from holdfast.evaluation import Evaluation, EvaluationPlan, evaluate_fully, recorded_splits
from holdfast.evaluation.report.results import Report
from holdfast.evaluation.suites import Effort

BALLS = (ThreatModel("linf", 8 / 255), ThreatModel("linf", 32 / 255))
TINY = EvaluationPlan(BALLS, images=24, curve_images=8, plants=1, effort=Effort(steps=3, restarts=2, queries=10, batch_size=8))


@dataclass
class Recorder:
    """What attacks were asked, in order.

    Attributes:
        asked: the ball, the size of the bank known, the attack, and the images of each batch.
        at: before the batch of this number, counted from 0, `event` happens, once.
        event: what happens.

    """

    asked: list[tuple[str, int, str, bytes]] = field(default_factory=list)
    at: int = -1
    event: Callable[[], None] = lambda: None

    def record(self, call: tuple[str, int, str, bytes]) -> None:
        if len(self.asked) == self.at:
            self.at = -1
            self.event()
        self.asked.append(call)


@dataclass(frozen=True)
class RecordedAttack(Attack):
    """PGD that tells a recorder of every batch."""

    loss: AttackLoss
    steps: int = 3
    kind: AttackKind = AttackKind.WHITE_BOX
    recorder: Recorder = field(default_factory=Recorder, repr=False)

    def __str__(self) -> str:
        return str(self.loss)

    def run(self, batch: AttackBatch) -> Tensor:
        known, images = len(batch.victim.surrogate.labels), batch.pixels.numpy().tobytes()
        self.recorder.record((str(batch.threat), known, f"{self.loss} {self.steps}", images))
        return PGDAttack(self.loss, self.steps, self.kind).run(batch)


def evaluated(bundle, cache, plan: EvaluationPlan = TINY, **options: Any) -> Evaluation:
    """A full evaluation of the test's own bundle."""
    return evaluate_fully(bundle, recorded_splits(Bundle.open(bundle).manifest), plan, cache=cache, **options)


def timeless(report: Report) -> dict[str, Any]:
    """What must not depend on when and how often the evaluation was interrupted."""
    plain: dict[str, Any] = json.loads(report.model_dump_json())
    for threat in plain["threats"]:
        for step in threat["steps"]:
            step.pop("seconds")
    plain.pop("provenance")
    return plain
