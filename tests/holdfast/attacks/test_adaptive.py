from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.progress import Progress

from holdfast.attacks.adaptive import LADDER, AdaptiveAttack
from holdfast.attacks.losses import CrossEntropy, Margin, Targeted
from holdfast.bundle.threat_model import ThreatModel
from tests.holdfast.attacks.small import small_setup

LINF = ThreatModel("linf", 8 / 255)


@pytest.fixture(scope="module")
def scene():
    """A victim, and 24 images of 3 classes that it mostly answers rightly."""
    return small_setup().attacked


def moves(outcome, images):
    return (outcome.adversarial.astype(float) - images).reshape(len(images), -1) / 255


@settings(deadline=None, max_examples=12)
@given(st.sampled_from(["linf", "l2"]), st.floats(0.004, 0.3), st.integers(0, 50))
def test_every_claim_is_a_uint8_image_in_the_ball_that_the_judge_gets_wrong(scene, norm, epsilon, seed):
    victim, images, labels = scene
    threat = ThreatModel(norm, epsilon)
    attack = AdaptiveAttack(rungs=(Margin(0.05), Margin(0.2)), steps=4, batch_size=7)
    outcome = attack(victim, images, labels, threat, seed=seed)
    size = np.abs(moves(outcome, images)).max(1) if norm == "linf" else np.linalg.norm(moves(outcome, images), axis=1)
    assert outcome.adversarial.dtype == np.uint8
    assert (size <= epsilon * 1.00001).all()
    np.testing.assert_array_equal(victim.judge(outcome.adversarial), outcome.adversarial_labels)
    np.testing.assert_array_equal(victim.judge(images), outcome.clean_labels)
    right, still_right = outcome.clean_labels == labels, outcome.adversarial_labels == labels
    np.testing.assert_array_equal(outcome.success, right & ~still_right)
    assert [name != "" for name in outcome.found_by] == outcome.success.tolist()
    np.testing.assert_array_equal(outcome.adversarial[~right], images[~right])


def test_it_finds_more_than_nothing_and_a_tiny_ball_holds_nothing(scene):
    victim, images, labels = scene
    attack = AdaptiveAttack(rungs=LADDER[:2], steps=10)
    assert attack(victim, images, labels, ThreatModel("linf", 64 / 255)).success.mean() > 0.9
    assert attack(victim, images, labels, ThreatModel("linf", 0.4 / 255)).success.sum() == 0


def test_a_longer_ladder_never_finds_less(scene):
    victim, images, labels = scene
    found = [
        AdaptiveAttack(rungs=LADDER[:n], steps=6)(victim, images, labels, LINF, seed=3).success
        for n in range(1, len(LADDER) + 1)
    ]
    for shorter, longer in pairwise(found):
        assert (longer >= shorter).all()


def test_later_rungs_see_survivors_only(scene):
    victim, images, labels = scene
    seen = []

    class Spy:
        def __call__(self, victim, pixels, labels):
            seen.append(len(pixels))
            return Margin(0.05)(victim, pixels, labels)

    large = ThreatModel("linf", 24 / 255)
    first = AdaptiveAttack(rungs=(Margin(0.05),), steps=6)(victim, images, labels, large)
    AdaptiveAttack(rungs=(Margin(0.05), Spy()), steps=6)(victim, images, labels, large)
    assert sum(seen) == int((first.clean_labels == labels).sum() - first.success.sum())


def test_the_same_seed_gives_the_same_outcome(scene):
    victim, images, labels = scene
    attack = AdaptiveAttack(rungs=(Margin(0.1),), steps=3, restarts=2)
    once, again = (attack(victim, images, labels, LINF, seed=5) for _ in range(2))
    np.testing.assert_array_equal(once.adversarial, again.adversarial)


@pytest.mark.parametrize("rung", [*LADDER, Targeted(0.05, 1), CrossEntropy(0.05)], ids=str)
def test_each_rung_alone_beats_random_directions(scene, rung):
    victim, images, labels = scene
    threat = ThreatModel("linf", 48 / 255)
    assert AdaptiveAttack(rungs=(rung,), steps=10)(victim, images, labels, threat).success.mean() > 0.6


def test_the_bar_ends_full_and_says_what_stands(scene):
    victim, images, labels = scene
    bar = Progress(disable=True)
    outcome = AdaptiveAttack(rungs=LADDER[:2], steps=2)(victim, images, labels, LINF, progress=bar)
    standing = int((outcome.clean_labels == labels).sum() - outcome.success.sum())
    assert bar.tasks[0].finished
    assert f"{standing} of {len(images)} stand" in bar.tasks[0].description
