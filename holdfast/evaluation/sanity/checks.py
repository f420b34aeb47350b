"""The ways in which a robustness evaluation fools itself, each as a sanity check: what must hold, what was measured, a verdict.

They follow Athalye et al. (2018, arXiv 1802.00420), Carlini et al. (2019, arXiv 1902.06705) and Tramer et al. (2020,
arXiv 2002.08347). Here are only verdicts on numbers, which `measures` takes.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from holdfast.attacks.attack import AttackKind
from holdfast.bundle.threat_model import ThreatModel
from holdfast.evaluation.report.results import Curve, SanityCheck, ThreatResult
from holdfast.evaluation.suites import MORE_RESTARTS, MORE_STEPS
from holdfast.intervals import Rate

VANISHED = 0.01
BEATEN = 0.002
POINT = 0.01
AGREEMENT = 0.99
PLANTS_FOUND = 0.95
PLANTS_BY_NOISE = 0.05
HUGE = 0.5
"""An epsilon at which every image can be turned grey, and so nothing can be told apart."""

ROUNDING = 1e-9


def no_vanishing_gradients(zero: Mapping[str, Rate]) -> SanityCheck:
    """Judge how many inputs have a zero gradient, per place and loss."""
    worst = max(zero, key=lambda place: zero[place].value, default="")
    return SanityCheck(
        name="no vanishing gradients",
        asks=f"at most {format_share(VANISHED)} of the inputs have a zero gradient, at every temperature",
        measured=f"{_format_rate(zero[worst])} at {worst}, the worst" if worst else "nothing",
        passed=bool(worst) and zero[worst].trials > 0 and zero[worst].value <= VANISHED,
        why="where the gradient is zero, gradient attacks stand still: what they do not find says nothing",
    )


def rounding_passes_gradients(zero: Rate) -> SanityCheck:
    """Judge how many inputs have a zero gradient between two grey levels."""
    return SanityCheck(
        name="rounding passes gradients straight through",
        asks=f"between grey levels too, at most {format_share(VANISHED)} of the inputs have a zero gradient",
        measured=_format_rate(zero),
        passed=zero.trials > 0 and zero.value <= VANISHED,
        why="rounding to grey levels is flat almost everywhere, and would stop every attack that is led through it",
    )


def white_box_is_strongest(threats: Sequence[ThreatResult]) -> SanityCheck:
    """Judge what the attacks that know less found beyond those that know everything."""
    worst, names = 0.0, "they find nothing in any ball"
    for threat in threats:
        beyond = [step for step in threat.steps if step.kind != AttackKind.WHITE_BOX and step.found]
        share = sum(step.found for step in beyond) / max(threat.clean.trials, 1)
        if share > worst:
            worst = share
            names = f"within {place(threat)}, by " + ", ".join(f"{step.name} ({step.found})" for step in beyond)
    tried = any(step.kind != AttackKind.WHITE_BOX for threat in threats for step in threat.steps)
    return SanityCheck(
        name="who knows more finds more",
        asks=f"black-box, transfer and random attacks find at most {format_points(BEATEN)} beyond the white-box ones",
        measured=(f"{format_points(worst)} {names}" if worst else names) if tried else "no such attack was tried",
        passed=tried and worst <= BEATEN + ROUNDING,
        why="an attack that sees less can only win where the gradients mislead: the white-box figures are then too good",
    )


def everything_falls(robust: Rate) -> SanityCheck:
    """Judge the accuracy that is left at an epsilon at which none can be."""
    return SanityCheck(
        name="a huge epsilon leaves nothing",
        asks=f"accuracy at L-inf {HUGE:g} is 0",
        measured=_format_rate(robust),
        passed=robust.trials > 0 and robust.successes == 0,
        why="within such a ball every image can become plain grey; whoever is still right there was not attacked in earnest",
    )


def monotone(curves: Sequence[Curve]) -> SanityCheck:
    """Judge whether accuracy falls with epsilon, each epsilon measured by itself."""
    rises = [
        (later.robust.rate.value - earlier.robust.rate.value, f"from {curve.norm} {earlier.epsilon:.4g} to {later.epsilon:.4g}")
        for curve in curves
        for earlier, later in pairwise(sorted(curve.points, key=lambda point: point.epsilon))
    ]
    worst, where = max(rises, default=(float("nan"), "nowhere: nothing was measured"))
    return SanityCheck(
        name="a larger ball leaves fewer",
        asks=f"accuracy does not rise with epsilon by more than {format_points(POINT)}",
        measured=f"it never rises over {len(rises)} steps" if worst <= 0 else f"it rises by {format_points(worst)} {where}",
        passed=bool(rises) and worst <= POINT + ROUNDING,
        why="a larger ball holds the smaller one, so an attack that does worse in it is failing to search it",
    )


def many_steps_beat_one(one: Curve, many: Curve) -> SanityCheck:
    """Judge an attack of one gradient step against the same attack of many, over the same balls and images."""
    pairs = [(a.epsilon, a.robust, b.robust) for a, b in zip(one.points, many.points, strict=True) if a.epsilon > 0]
    behind, where = max(((m.rate.value - o.rate.value, epsilon) for epsilon, o, m in pairs), default=(float("nan"), 0.0))
    gained = sum(o.successes - m.successes for _, o, m in pairs)
    exhausted = all(m.successes == 0 for _, _, m in pairs)
    measured = f"over {len(pairs)} balls many steps find {gained} images more"
    if behind > 0:
        measured += f"; one step is ahead by {format_points(behind)} at {where:.4g}"
    return SanityCheck(
        name="many steps beat one",
        asks=f"many steps find more than one, and in no ball fewer by more than {format_points(POINT)}",
        measured=measured,
        passed=bool(pairs) and (gained > 0 or exhausted) and behind <= POINT + ROUNDING,
        why="where one step is as good as many, the gradient does not lead anywhere",
    )


def more_steps_find_no_more(threats: Sequence[ThreatResult]) -> SanityCheck:
    """Judge what the strongest white-box attacks found with twice the steps, among the survivors of the whole suite."""
    return _more(threats, MORE_STEPS, "twice the steps")


def more_restarts_find_no_more(threats: Sequence[ThreatResult]) -> SanityCheck:
    """Judge what the strongest white-box attacks found with twice the restarts, among the survivors of the whole suite."""
    return _more(threats, MORE_RESTARTS, "twice the restarts")


def _more(threats: Sequence[ThreatResult], mark: str, more: str) -> SanityCheck:
    found = {
        place(threat): sum(step.found for step in threat.steps if step.name.startswith(mark)) / max(threat.clean.trials, 1)
        for threat in threats
        if any(step.name.startswith(mark) for step in threat.steps)
    }
    where = max(found, key=lambda ball: found[ball], default="")
    return SanityCheck(
        name=f"{more} find no more",
        asks=f"the strongest white-box attacks with {more} find at most {format_points(POINT)} among the survivors",
        measured=_worst(found[where], where) if where else "not tried",
        passed=bool(where) and found[where] <= POINT + ROUNDING,
        why="an attack that goes on finding has not converged, and the accuracy it leaves is too good",
    )


def surrogate_agrees(agreement: Mapping[float, Rate]) -> SanityCheck:
    """Judge how often the surrogates give the served answer on clean images, by temperature; the best one counts."""
    best = max(agreement, key=lambda tau: agreement[tau].value, default=0.0)
    others = ", ".join(f"{100 * rate.value:.1f} at {tau:g}" for tau, rate in agreement.items())
    return SanityCheck(
        name="the surrogate answers as the server does",
        asks=f"at its best temperature it gives the served answer on at least {format_share(AGREEMENT)} of the clean images",
        measured=f"{_format_rate(agreement[best])} at temperature {best:g} ({others})" if agreement else "nothing",
        passed=bool(agreement) and agreement[best].trials > 0 and agreement[best].value >= AGREEMENT,
        why="gradients of something else than what answers point elsewhere; near ties of a weak encoder come out here too",
    )


def plants_are_found(found: Rate) -> SanityCheck:
    """Judge how many of the adversaries that surely exist the attack found."""
    return SanityCheck(
        name="planted adversaries are found",
        asks=f"at least {format_share(PLANTS_FOUND)} of the adversarial examples planted beside test images are found",
        measured=_format_rate(found) if found.trials else "no case: the encoder cannot tell the plant from its crowd",
        passed=found.trials > 0 and found.value >= PLANTS_FOUND,
        why="they exist by construction; an attack that misses them would miss others too",
    )


def noise_finds_no_plants(found: Rate) -> SanityCheck:
    """Judge how many of them random noise stumbled upon."""
    return SanityCheck(
        name="planted adversaries are hidden from noise",
        asks=f"random noise finds at most {format_share(PLANTS_BY_NOISE)} of them",
        measured=_format_rate(found) if found.trials else "no case",
        passed=found.trials > 0 and found.value <= PLANTS_BY_NOISE,
        why="what noise finds is no test of an attack",
    )


def answers_repeat(differing: Rate) -> SanityCheck:
    """Judge how many answers or embeddings came out otherwise when asked again."""
    return SanityCheck(
        name="nothing served is random",
        asks="asked again, alone or in another batch, the server gives the same answer, the encoder the same embedding",
        measured=f"{differing.successes} of {differing.trials} came out otherwise",
        passed=differing.trials > 0 and differing.successes == 0,
        why="a random defence must be attacked in expectation (EOT), which these attacks do not do",
    )


def _worst(share: float, where: str) -> str:
    return f"{format_points(share)} at the worst, within {where}" if share else "nothing in any ball"


def place(threat: ThreatResult) -> str:
    """Which ball, and what was known."""
    return f"{ThreatModel(threat.norm, threat.epsilon)}, {threat.knowledge}"


def format_share(share: float) -> str:
    """As in "1 %"."""
    return f"{100 * share:.3g} %"


def format_points(share: float) -> str:
    """As in ".2 points"."""
    return f"{100 * share:.3g} points"


def _format_rate(rate: Rate) -> str:
    return f"{rate.successes} of {rate.trials}, {rate}" if rate.trials else "nothing"
