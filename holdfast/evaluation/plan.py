"""What an evaluation does. The quick table and the full report are two plans of one pipeline."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal

from holdfast.attacks.adaptive import AdaptiveAttack
from holdfast.attacks.search.worst_case import WorstCaseAttack
from holdfast.bundle.threat_model import ThreatModel
from holdfast.evaluation.suites import Effort
from holdfast.model.device_choice import DeviceChoice, Precision

CURVE_STEPS, PROBE_STEPS = 20, 40
STANDARD_BALLS = ("linf:2/255", "linf:4/255", "linf:8/255", "l2:0.5")

Knowledge = Literal["bank known", "bank unknown", "answers alone"]
"""What an attacker knows: weights and exemplars; weights; or, of a running server, neither."""


class Section(StrEnum):
    """A part of an evaluation beside the attacks themselves."""

    AGREEMENT = "agreement of the surrogate"
    CURVES = "accuracy against epsilon"
    SANITY_CHECKS = "sanity checks"
    DETECTORS = "detectors"
    SETS = "prediction sets"
    HARDENING = "attacked exemplars"
    CREDIBILITY = "credibility"
    SHIFTS = "shifts"
    GALLERY = "gallery"
    PROVENANCE = "provenance"


QUICK = frozenset({Section.AGREEMENT})
FULL = frozenset(Section) - QUICK
"""The sanity checks measure the surrogate's agreement at every temperature."""


@dataclass(frozen=True)
class EvaluationPlan:
    """What is measured, on which images, how hard and where.

    Attributes:
        balls: what the attackers may do; those of a norm in ascending order of epsilon. None: the bundle's own ball.
        knowledge: what the attackers know.
        attack: tried instead of the suites of `holdfast.evaluation.suites`, by attackers who know the bank.
        sections: what is measured besides.
        images: test images that are attacked, drawn by `seed`; None for all.
        hardening_balls: within which attacked exemplars are measured; where it names none, within `balls`.
        curve_images: how many of them the curves and some of the sanity checks look at.
        plants: test images beside which an adversary is planted.
        effort: how hard the suites try.
        seed: of the draw of images and of all attacks.
        threads: of ONNX Runtime; and as many batches are attacked side by side on a CPU.
        serve_on: where the answers that decide are computed; see `open_served`.
        serve_in: what a GPU's encoder computes them in; likewise.

    """

    balls: tuple[ThreatModel, ...] = ()
    knowledge: tuple[Knowledge, ...] = ("bank known", "bank unknown")
    attack: WorstCaseAttack | None = None
    sections: frozenset[Section] = FULL
    images: int | None = 1000
    hardening_balls: tuple[ThreatModel, ...] = ()
    curve_images: int = 300
    plants: int = 40
    effort: Effort = field(default_factory=Effort)
    seed: int = 0
    threads: int = 1
    serve_on: DeviceChoice = "cpu"
    serve_in: Precision = "float32"

    def __post_init__(self) -> None:
        if Section.SETS in self.sections and Section.CREDIBILITY not in self.sections:
            raise ValueError("prediction sets are attacked by who aims at credibility: a plan with the former needs the latter")
        if Section.SANITY_CHECKS in self.sections and Section.CURVES not in self.sections:
            raise ValueError("the sanity checks judge the curves: a plan with the former needs the latter")

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for cached results to count. Threads need not; `serve_on` is part of the context's."""
        balls = [f"{ball.norm} {ball.epsilon:.9g}" for ball in self.balls]
        own = {"balls": balls, "images": self.images, "images of curves": self.curve_images, "plants": self.plants}
        attack = {} if self.attack is None else {"attack": repr(self.attack)}
        return own | attack | asdict(self.effort) | {"seed": self.seed}

    @property
    def curve_attack(self) -> AdaptiveAttack:
        """White box, quick, and the same at every epsilon."""
        return AdaptiveAttack(steps=min(CURVE_STEPS, self.effort.steps), batch_size=self.effort.batch_size)

    @property
    def one_step_attack(self) -> AdaptiveAttack:
        """The same with a single gradient."""
        return AdaptiveAttack(steps=1, batch_size=self.effort.batch_size)

    @property
    def probing_attack(self) -> AdaptiveAttack:
        """For the sanity checks that ask whether an attack finds what is surely there."""
        return AdaptiveAttack(steps=self.probe_steps, batch_size=self.effort.batch_size)

    @property
    def probe_steps(self) -> int:
        """Gradients of the attacks on plants and on detectors."""
        return min(PROBE_STEPS, self.effort.steps)


def quick_plan(
    threat: ThreatModel | None = None,
    attack: WorstCaseAttack | None = None,
    *,
    images: int | None = None,
    seed: int = 0,
    threads: int = 1,
    serve_on: DeviceChoice = "cpu",
    serve_in: Precision = "float32",
) -> EvaluationPlan:
    """One attack within one ball, by default the bundle's own, and how often the surrogate gives the served answer."""
    chosen = attack or AdaptiveAttack()
    adaptive = chosen if isinstance(chosen, AdaptiveAttack) else AdaptiveAttack()
    return EvaluationPlan(
        balls=() if threat is None else (threat,),
        knowledge=("bank known",),
        attack=chosen,
        effort=Effort(steps=adaptive.steps, batch_size=adaptive.batch_size),
        sections=QUICK,
        images=images,
        seed=seed,
        threads=threads,
        serve_on=serve_on,
        serve_in=serve_in,
    )


def in_order(balls: Iterable[ThreatModel]) -> tuple[ThreatModel, ...]:
    """Each once, L-inf first, the smaller before the larger: what fools within a small ball fools within a larger one."""
    return tuple(sorted(set(balls), key=lambda threat: (threat.norm != "linf", threat.epsilon)))


def slug(threat: ThreatModel) -> str:
    """For the name of a file: "linf-0.031373"."""
    return f"{threat.norm}-{threat.epsilon:.6g}"
