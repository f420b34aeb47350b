import numpy as np
import pytest
import torch

from holdfast.attacks.adaptive import AdaptiveAttack
from holdfast.attacks.knowledge import attackers_images, bank_unknown
from holdfast.attacks.losses import LatentDistance, Margin
from holdfast.attacks.quantise import to_pixels
from holdfast.bundle.threat_model import ThreatModel
from holdfast.data import LabelledImages
from holdfast.errors import HoldfastError
from tests.holdfast.attacks.small import small_setup


class EvaluationContext:
    """Exemplars 0..95, attacked 96..119, and the attacker's own 120..419, of 3 classes."""

    def __init__(self):
        made = small_setup(others=324)
        images, labels = made.images, made.labels
        self.embed, self.victim = made.embed, made.victim
        self.images, self.labels = images[96:120], labels[96:120]
        self.own, self.own_labels = images[120:], labels[120:]
        self.all = LabelledImages(images, labels, ("a", "b", "c"), [f"set/{i}" for i in range(420)])


@pytest.fixture(scope="module")
def scene():
    return EvaluationContext()


def test_the_surrogate_is_over_the_attackers_images_and_the_answers_are_the_served_ones(scene):
    victim = bank_unknown(scene.victim, scene.own, scene.own_labels, attacked=scene.images)
    assert (victim.embed, victim.answer) == (scene.victim.embed, scene.victim.answer)
    assert (victim.surrogate.tau, victim.surrogate.classes) == (0.05, 3)
    order = np.argsort(scene.own_labels, kind="stable")
    with torch.no_grad():
        expected = scene.embed(to_pixels(scene.own[order]))
    torch.testing.assert_close(victim.surrogate.bank, expected)
    np.testing.assert_array_equal(victim.surrogate.labels, scene.own_labels[order])


def test_nothing_of_the_bank_is_left(scene):
    victim = bank_unknown(scene.victim, scene.own, scene.own_labels, attacked=scene.images)
    assert float(torch.cdist(victim.surrogate.bank, scene.victim.surrogate.bank).min()) > 1e-3


def test_it_still_finds_much_and_claims_nothing_the_server_does_not_answer(scene):
    victim = bank_unknown(scene.victim, scene.own, scene.own_labels, attacked=scene.images)
    attack = AdaptiveAttack(losses=(Margin(0.05), Margin(0.2)), steps=10)
    outcome = attack(victim, scene.images, scene.labels, ThreatModel("linf", 40 / 255))
    assert outcome.success.mean() > 0.5
    np.testing.assert_array_equal(outcome.clean_labels, scene.victim.answer(scene.images))
    np.testing.assert_array_equal(outcome.adversarial_labels, scene.victim.answer(outcome.adversarial))


def test_an_attack_that_asks_no_bank_is_the_same_without_it(scene):
    attack, threat = AdaptiveAttack(losses=(LatentDistance(),), steps=6), ThreatModel("linf", 40 / 255)
    unknown = bank_unknown(scene.victim, scene.own, scene.own_labels, attacked=scene.images)
    known, unaware = (attack(victim, scene.images, scene.labels, threat) for victim in (scene.victim, unknown))
    np.testing.assert_array_equal(known.adversarial, unaware.adversarial)


def test_an_attacked_image_among_the_attackers_own_is_refused(scene):
    own = np.concatenate([scene.own, scene.images[3:5]])
    labels = np.concatenate([scene.own_labels, scene.labels[3:5]])
    with pytest.raises(HoldfastError, match="^2 "):
        bank_unknown(scene.victim, own, labels, attacked=scene.images)


def test_a_class_the_attacker_has_never_seen_is_refused(scene):
    some = scene.own_labels != 1
    with pytest.raises(HoldfastError, match="classes 1,"):
        bank_unknown(scene.victim, scene.own[some], scene.own_labels[some], attacked=scene.images)


def test_the_attackers_images_are_all_that_are_neither_attacked_nor_exemplars(scene):
    exemplars = [f"set/{i}" for i in range(96)]
    own = attackers_images(scene.all, scene.images, exemplars)
    assert own.sources == [f"set/{i}" for i in range(120, 420)]
    assert len(attackers_images(scene.all, scene.images)) == 420 - 24
    twice = LabelledImages(
        np.concatenate([scene.all.images, scene.images]),
        np.concatenate([scene.all.labels, scene.labels]),
        scene.all.class_names,
        scene.all.sources + [f"again/{i}" for i in range(24)],
    )
    # A copy under another name is the same image.
    assert attackers_images(twice, scene.images, exemplars).sources == own.sources
    victim = bank_unknown(scene.victim, own.images, own.labels, attacked=scene.images)
    assert len(victim.surrogate.bank) == 300
