"""From the command line to what an evaluation does."""

from collections.abc import Iterable
from dataclasses import replace

from holdfast.attacks.adaptive import LOSSES, AdaptiveAttack
from holdfast.attacks.losses import AttackLoss, CrossEntropy, Margin, Targeted
from holdfast.attacks.noise import NoiseAttack
from holdfast.bundle.manifest import Manifest
from holdfast.bundle.threat_model import ThreatModel, ball
from holdfast.errors import HoldfastError
from holdfast.evaluation.cli.options import EvaluateConfig
from holdfast.evaluation.plan import STANDARD_BALLS, EvaluationPlan, Section, in_order, quick_plan
from holdfast.evaluation.suites import Effort
from holdfast.model.preprocess import InputContract

MOST, PIXELS = 128, 2**23
"""Images that are attacked at once, and their pixels: 128 of 224 x 224, 32 of 512 x 512."""

FIRST_LOSSES: tuple[AttackLoss, ...] = (Margin(0.05), Targeted(0.05, 2), CrossEntropy(0.05))
"""Of the attack that ignores credibility, before those that aim at it: of the whole suite these find nearly all."""


def at_once(config: EvaluateConfig, contract: InputContract) -> int:
    """How many images are attacked at once: of large ones fewer, as an attack keeps several copies of each as float32."""
    return config.batch_size or max(1, min(MOST, PIXELS // (contract.height * contract.width)))


def hardening_plan_of(config: EvaluateConfig, reported: Iterable[ThreatModel]) -> EvaluationPlan:
    """What attacked exemplars are worth; within the balls that a report is of, but for what the command line says.

    Raises:
        HoldfastError: the command line names something that is no ball.

    """
    return replace(
        _plan_of_one_section(config),
        sections=frozenset({Section.HARDENING}),
        hardening_balls=in_order(map(ball, config.options.balls) if config.options.balls else reported),
        curve_images=config.options.curve_images,
    )


def shifts_plan_of(config: EvaluateConfig) -> EvaluationPlan:
    """What becomes of answers under shifts."""
    return replace(_plan_of_one_section(config), sections=frozenset({Section.SHIFTS}))


def _plan_of_one_section(config: EvaluateConfig) -> EvaluationPlan:
    return quick_plan(
        attack=NoiseAttack(),  # there has to be one that nothing is said of, and none is cheaper
        images=config.images or None,
        seed=config.seed,
        threads=config.threads,
        serve_on=config.serve_on,
        serve_in=config.serve_in,
    )


def quick_plan_of(config: EvaluateConfig, manifest: Manifest, losses: tuple[AttackLoss, ...] = LOSSES) -> EvaluationPlan:
    """One ball: the bundle's own, but for what the command line says.

    Raises:
        HoldfastError: it is no ball.

    """
    own = manifest.ball
    try:
        threat = ThreatModel(config.norm or own.norm, own.epsilon if config.epsilon is None else config.epsilon)
    except ValueError as error:
        raise HoldfastError(f"--epsilon: {error}") from None
    return quick_plan(
        threat,
        AdaptiveAttack(losses, config.steps or 40, config.restarts or 1, at_once(config, manifest.input)),
        images=config.images or None,
        seed=config.seed,
        threads=config.threads,
        serve_on=config.serve_on,
        serve_in=config.serve_in,
    )


def credibility_plan_of(config: EvaluateConfig, manifest: Manifest) -> EvaluationPlan:
    """What credibility and detectors are worth: in the same ball, or in those that the command line names.

    Raises:
        HoldfastError: it names something that is no ball.

    """
    plan, options = quick_plan_of(config, manifest, FIRST_LOSSES), config.options
    balls = in_order(map(ball, options.balls)) if options.balls else plan.balls
    # Detectors are of the bundle's own ball: what a report says of them stands where that is not attacked again.
    detectors = {Section.DETECTORS} if manifest.ball in balls else set[Section]()
    return replace(
        plan,
        balls=balls,
        sections=plan.sections | {Section.CREDIBILITY, Section.SETS} | detectors,
        curve_images=options.curve_images,
    )


def full_plan_of(config: EvaluateConfig, manifest: Manifest) -> EvaluationPlan:
    """Everything, in the balls that the command line names.

    Raises:
        HoldfastError: what is to be recorded would not be measured.

    """
    options, own = config.options, manifest.ball
    wanted = [ball(text) for text in options.balls or STANDARD_BALLS]
    balls = in_order([*wanted, *([] if options.balls else [own])])
    if config.record and own not in balls:
        raise HoldfastError(f"--record is of the bundle's own ball: add {own.norm}:{own.epsilon} to --balls")
    effort = Effort(
        steps=config.steps or 100,
        restarts=config.restarts or 5,
        queries=options.queries,
        targets=options.targets,
        batch_size=at_once(config, manifest.input),
    )
    return EvaluationPlan(
        balls=balls,
        images=config.images or None,
        curve_images=options.curve_images,
        plants=options.plants,
        effort=effort,
        seed=config.seed,
        threads=config.threads,
        serve_on=config.serve_on,
        serve_in=config.serve_in,
    )
