from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.attacks.adaptive import LOSSES, AdaptiveAttack
from holdfast.attacks.losses import CrossEntropy, Margin, Targeted
from holdfast.bundle.threat_model import ThreatModel
from holdfast.console import Progress
from tests.holdfast.attacks.small import small_setup

LINF = ThreatModel("linf", 8 / 255)


@pytest.fixture(scope="module")
def scene():
    """A victim, and 24 images of 3 classes that it mostly answers rightly."""
    return small_setup().attacked


def moves(outcome, images):
    return (outcome.adversarial.astype(float) - images).reshape(len(images), -1) / 255


@settings(max_examples=12)
@given(st.sampled_from(["linf", "l2"]), st.floats(0.004, 0.3), st.integers(0, 50))
def test_every_claim_is_a_uint8_image_in_the_ball_that_is_answered_wrongly(scene, norm, epsilon, seed):
    victim, images, labels = scene
    threat = ThreatModel(norm, epsilon)
    attack = AdaptiveAttack(losses=(Margin(0.05), Margin(0.2)), steps=4, batch_size=7)
    outcome = attack(victim, images, labels, threat, seed=seed)
    size = np.abs(moves(outcome, images)).max(1) if norm == "linf" else np.linalg.norm(moves(outcome, images), axis=1)
    assert outcome.adversarial.dtype == np.uint8
    assert (size <= epsilon * 1.00001).all()
    np.testing.assert_array_equal(victim.answer(outcome.adversarial), outcome.adversarial_labels)
    np.testing.assert_array_equal(victim.answer(images), outcome.clean_labels)
    right, still_right = outcome.clean_labels == labels, outcome.adversarial_labels == labels
    np.testing.assert_array_equal(outcome.success, right & ~still_right)
    assert [name != "" for name in outcome.found_by] == outcome.success.tolist()
    np.testing.assert_array_equal(outcome.adversarial[~right], images[~right])


def test_it_finds_more_than_nothing_and_a_tiny_ball_holds_nothing(scene):
    victim, images, labels = scene
    attack = AdaptiveAttack(losses=LOSSES[:2], steps=10)
    assert attack(victim, images, labels, ThreatModel("linf", 64 / 255)).success.mean() > 0.9
    assert attack(victim, images, labels, ThreatModel("linf", 0.4 / 255)).success.sum() == 0


def test_more_losses_never_find_less(scene):
    victim, images, labels = scene
    found = [
        AdaptiveAttack(losses=LOSSES[:n], steps=6)(victim, images, labels, LINF, seed=3).success
        for n in range(1, len(LOSSES) + 1)
    ]
    for fewer, more in pairwise(found):
        assert (more >= fewer).all()


def test_later_losses_see_survivors_only(scene):
    victim, images, labels = scene
    seen = []

    class Spy:
        def __call__(self, victim, pixels, labels):
            seen.append(len(pixels))
            return Margin(0.05)(victim, pixels, labels)

    large = ThreatModel("linf", 24 / 255)
    first = AdaptiveAttack(losses=(Margin(0.05),), steps=6)(victim, images, labels, large)
    AdaptiveAttack(losses=(Margin(0.05), Spy()), steps=6)(victim, images, labels, large)
    assert sum(seen) == int((first.clean_labels == labels).sum() - first.success.sum())


def test_the_same_seed_gives_the_same_outcome(scene):
    victim, images, labels = scene
    attack = AdaptiveAttack(losses=(Margin(0.1),), steps=3, restarts=2)
    once, again = (attack(victim, images, labels, LINF, seed=5) for _ in range(2))
    np.testing.assert_array_equal(once.adversarial, again.adversarial)


@pytest.mark.parametrize("loss", [*LOSSES, Targeted(0.05, 1), CrossEntropy(0.05)], ids=str)
def test_each_loss_alone_beats_random_directions(scene, loss):
    victim, images, labels = scene
    threat = ThreatModel("linf", 48 / 255)
    assert AdaptiveAttack(losses=(loss,), steps=10)(victim, images, labels, threat).success.mean() > 0.6


def test_the_bar_ends_full_and_counts_the_survivors(scene):
    victim, images, labels = scene
    bar = Progress(disable=True)
    outcome = AdaptiveAttack(losses=LOSSES[:2], steps=2)(victim, images, labels, LINF, progress=bar)
    survivors = int((outcome.clean_labels == labels).sum() - outcome.success.sum())
    assert bar.tasks[0].finished
    assert f"{survivors} of {len(images)}" in bar.tasks[0].description
