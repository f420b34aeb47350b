from dataclasses import replace

import numpy as np
import pytest
import torch

from holdfast.attacks.adaptive import TAUS, AdaptiveAttack
from holdfast.attacks.attack import AttackKind, PGDAttack
from holdfast.attacks.losses import Margin
from holdfast.attacks.noise import Noise, NoiseAttack
from holdfast.attacks.planted import knn_answers
from holdfast.attacks.search.suite import AttackSuite
from holdfast.attacks.search.worst_case import WorstCase
from holdfast.attacks.surrogate import TorchSoftKNN
from holdfast.attacks.third_party import SquareScores
from holdfast.attacks.victim import Victim
from holdfast.bundle.threat_model import ThreatModel
from holdfast.evaluation.report.results import AttackResult, Curve, CurvePoint, Measured, ThreatResult
from holdfast.evaluation.sanity import checks, measures
from holdfast.evaluation.suites import MORE_RESTARTS, MORE_STEPS
from holdfast.intervals import Rate
from holdfast.model.vote import VoteParameters
from tests.holdfast.attacks.small import small_setup

LINF = ThreatModel("linf", 24 / 255)
EPSILONS = (0.0, 8 / 255, 24 / 255)
MANY, ONE = (AdaptiveAttack(losses=(Margin(0.1),), steps=steps) for steps in (12, 1))


@pytest.fixture(scope="module")
def attacked():
    """An honest victim, and 24 images of 3 classes that it mostly answers rightly."""
    return small_setup(activation=torch.nn.Tanh).attacked


def with_gradient(victim, bend):
    """The same answers; the gradient that comes back through the encoder is bent."""

    class Bent(torch.autograd.Function):
        @staticmethod
        def forward(ctx, pixels):
            return pixels.clone()

        @staticmethod
        def backward(ctx, gradient):
            return bend(gradient)

    return replace(victim, embed=lambda pixels: victim.embed(Bent.apply(pixels)))


def standing_rate(*attacked) -> Rate:
    stands = measures.standing(*attacked)
    return Rate(int(stands.sum()), len(stands))


def curve(victim, images, labels, attack, epsilons=EPSILONS):
    points = [standing_rate(victim, images, labels, ThreatModel("linf", e), attack) for e in epsilons]
    return Curve(
        norm="linf",
        attack=str(attack),
        points=tuple(CurvePoint(epsilon=e, robust=Measured.of(rate)) for e, rate in zip(epsilons, points, strict=True)),
    )


def result_of(attacked, steps):
    """What a suite came to, in the words of the report."""
    victim, images, labels = attacked
    worst_case = WorstCase(victim, images, labels, LINF)
    clean = worst_case.survivors
    tried = AttackSuite(steps).run(worst_case)
    return threat(clean, worst_case.survivors, len(labels), map(AttackResult.of, tried))


def threat(clean, standing, images, steps):
    return ThreatResult(
        norm="linf",
        epsilon=LINF.epsilon,
        knowledge="bank known",
        clean=Measured.of(Rate(clean, images)),
        robust=Measured.of(Rate(standing, images)),
        dsr=Measured.of(Rate(standing, clean)),
        inherited=0,
        steps=tuple(steps),
    )


def vanishing(victim, images, labels):
    shares = {f"{tau:g}": measures.zero_gradients(victim, images, labels, tau) for tau in TAUS}
    return checks.no_vanishing_gradients(shares)


def rounding(victim, images, labels):
    return checks.rounding_passes_gradients(measures.zero_gradients(victim, images, labels, 0.1, between=True))


def beaten(victim, images, labels):
    return checks.white_box_is_strongest([result_of((victim, images, labels), SUITE)])


def many_and_one(victim, images, labels):
    return checks.many_steps_beat_one(*(curve(victim, images, labels, attack) for attack in (ONE, MANY)))


def falling(victim, images, labels):
    return checks.monotone([curve(victim, images, labels, MANY)])


def huge(victim, images, labels):
    return checks.everything_falls(standing_rate(victim, images, labels, ThreatModel("linf", checks.HUGE), MANY))


def agreeing(victim, images, labels):
    answers = victim.answer(images)
    return checks.surrogate_agrees({tau: measures.agreement(victim, images, answers, tau) for tau in TAUS})


def repeating(victim, images, labels):
    return checks.answers_repeat(measures.differing(victim, images))


def planted(victim, images, labels):
    return checks.plants_are_found(measures.plants_found(victim, images[:6], LINF, MANY))


def unplanted(victim, images, labels):
    return checks.noise_finds_no_plants(measures.plants_found(victim, images[:6], LINF, NoiseAttack()))


SUITE = (PGDAttack(Margin(0.05), 12), PGDAttack(Margin(0.2), 12), SquareScores(queries=300), Noise())
MEASURED = (vanishing, rounding, beaten, many_and_one, falling, huge, agreeing, repeating, planted, unplanted)


@pytest.mark.parametrize("check", MEASURED)
def test_an_honest_victim_passes(attacked, check):
    verdict = check(*attacked)
    assert verdict.passed, verdict


@pytest.mark.parametrize("check", [vanishing, rounding, beaten, many_and_one, huge, planted])
def test_a_victim_without_gradients_fails(attacked, check):
    victim, images, labels = attacked
    assert not check(with_gradient(victim, torch.zeros_like), images, labels).passed


def test_gradients_that_are_no_numbers_count_as_vanished(attacked):
    victim, images, labels = attacked
    assert not vanishing(with_gradient(victim, lambda gradient: gradient * torch.nan), images, labels).passed


def test_an_encoder_that_rounds_without_passing_gradients_on_fails(attacked):
    victim, images, labels = attacked
    rounded = replace(victim, embed=lambda pixels: victim.embed((pixels * 255).round() / 255))
    assert not rounding(rounded, images, labels).passed


def test_what_a_black_box_finds_behind_a_masked_gradient_fails(attacked):
    victim, images, labels = attacked
    verdict = beaten(with_gradient(victim, torch.neg), images, labels)
    assert not verdict.passed
    assert "Square" in verdict.measured


def test_a_suite_without_black_box_attacks_proves_nothing(attacked):
    assert not checks.white_box_is_strongest([result_of(attacked, SUITE[:1])]).passed


def test_what_transfer_finds_counts_from_two_tenths_of_a_point():
    def verdict(found):
        step = AttackResult(name="linear head", kind=str(AttackKind.TRANSFER), tried=500, found=found, seconds=1)
        return checks.white_box_is_strongest([threat(800, 500 - found, 1000, [step])]).passed

    assert [verdict(found) for found in (0, 2, 3)] == [True, True, False]


def test_an_attack_that_overshoots_is_not_monotone():
    """Embeddings that turn with the brightness: one long step goes all the way round, and comes back to where it was."""

    def embed(pixels):
        phase = 40 * pixels.mean((1, 2, 3)) - 20.3
        return torch.stack([phase.cos(), phase.sin()], dim=1)

    bank = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    labels = torch.arange(2)
    victim = Victim(embed, TorchSoftKNN(bank, labels, 2, 0.2), knn_answers(embed, bank, labels, 2, VoteParameters(k=1)))
    grey = np.full((20, 8, 8, 3), 128, dtype=np.uint8)
    measured = curve(victim, grey, np.zeros(20, dtype=np.int64), ONE, epsilons=(0.0, 0.105, 0.21))
    assert [point.robust.successes for point in measured.points] == [20, 0, 20]
    verdict = checks.monotone([measured])
    assert not verdict.passed
    assert "rises by 100 points" in verdict.measured


def test_a_surrogate_of_another_bank_fails(attacked):
    victim, images, labels = attacked
    other = TorchSoftKNN(victim.surrogate.bank, (victim.surrogate.labels + 1) % 3, 3, 0.05)
    assert not agreeing(replace(victim, surrogate=other), images, labels).passed


def test_a_judge_that_is_always_right_does_not_fall(attacked):
    victim, images, labels = attacked
    # All images stand to the end, so they are judged together and in their order.
    assert not huge(replace(victim, answer=lambda x: labels[: len(x)]), images, labels).passed


def test_a_random_answer_or_embedding_is_noticed(attacked):
    victim, images, labels = attacked
    rng = np.random.default_rng(0)
    dice = replace(victim, answer=lambda x: rng.integers(0, 3, len(x)))
    assert not repeating(dice, images, labels).passed
    noisy = replace(victim, embed=lambda x: victim.embed(x + 1e-3 * torch.randn_like(x)))
    assert not repeating(noisy, images, labels).passed


def test_an_answer_that_depends_on_its_batch_is_noticed(attacked):
    victim, images, labels = attacked
    assert not repeating(replace(victim, answer=lambda x: np.full(len(x), len(x) % 3)), images, labels).passed


@pytest.mark.parametrize(
    ("check", "mark"), [(checks.more_steps_find_no_more, MORE_STEPS), (checks.more_restarts_find_no_more, MORE_RESTARTS)]
)
def test_an_attack_that_has_not_converged_fails(check, mark):
    def verdict(found):
        step = AttackResult(name=f"{mark}margin", kind=str(AttackKind.WHITE_BOX), tried=500, found=found, seconds=1)
        return check([threat(800, 500 - found, 1000, [step])]).passed

    assert [verdict(found) for found in (0, 10, 11)] == [True, True, False]
    assert not check([threat(800, 500, 1000, [])]).passed


@pytest.mark.parametrize(
    "verdict",
    [
        checks.no_vanishing_gradients({}),
        checks.rounding_passes_gradients(Rate(0, 0)),
        checks.white_box_is_strongest([]),
        checks.everything_falls(Rate(0, 0)),
        checks.monotone([]),
        checks.surrogate_agrees({}),
        checks.plants_are_found(Rate(0, 0)),
        checks.noise_finds_no_plants(Rate(0, 0)),
        checks.answers_repeat(Rate(0, 0)),
        checks.more_steps_find_no_more([]),
    ],
    ids=lambda verdict: verdict.name,
)
def test_what_was_not_measured_has_not_passed(verdict):
    assert not verdict.passed
