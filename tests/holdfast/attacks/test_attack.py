"""What every attack shares: the call, and the checks of what goes in and what comes out."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from holdfast.attacks.attack import Attack, AttackKind
from holdfast.attacks.search.suite import AttackSuite
from holdfast.attacks.search.worst_case import WorstCaseAttack
from holdfast.bundle.threat_model import ThreatModel
from tests.holdfast.attacks.small import small_setup

BALLS = [ThreatModel("linf", 8 / 255), ThreatModel("l2", 0.5)]


@pytest.fixture(scope="module")
def attacked():
    return small_setup().attacked


@dataclass(frozen=True)
class Proposes(Attack):
    """A new attack: a class with `run`, and an entry of a suite."""

    move: float
    kind = AttackKind.RANDOM

    def __str__(self):
        return f"all pixels by {self.move}"

    def run(self, batch):
        return batch.pixels + self.move


class Cuts(Proposes):
    def run(self, batch):
        return batch.pixels[:, :, :-1]


def call(attack, pixels, labels, threat=BALLS[0]):
    return attack(None, pixels, labels, threat, torch.Generator())


GREY, LABELS = torch.full((3, 3, 4, 4), 0.5), torch.zeros(3, dtype=torch.long)


@pytest.mark.parametrize("threat", BALLS, ids=str)
def test_candidates_inside_the_ball_pass_and_others_are_refused(threat):
    rim = threat.epsilon if threat.norm == "linf" else threat.epsilon / 48**0.5
    torch.testing.assert_close(call(Proposes(rim), GREY, LABELS, threat), GREY + rim)
    for move in (1.01 * rim, -1.01 * rim, float("nan")):
        with pytest.raises(ValueError, match="3 of 3 candidates outside"):
            call(Proposes(move), GREY, LABELS, threat)
    with pytest.raises(ValueError, match="outside"):
        call(Proposes(rim), torch.ones(1, 3, 4, 4), LABELS[:1], threat)


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"3, 3, 3, 4"):
        call(Cuts(0.0), GREY, LABELS)


@pytest.mark.parametrize(
    ("pixels", "labels", "word"),
    [
        (torch.zeros(3, 3, 4, 4, dtype=torch.uint8), LABELS, "uint8"),
        (GREY[:, :1], LABELS, "1, 4, 4"),
        (GREY[0], LABELS, "3, 4, 4"),
        (255 * GREY, LABELS, "255"),
        (GREY, LABELS[:2], "labels"),
        (GREY, LABELS.float(), "float"),
    ],
)
def test_what_is_no_batch_is_refused_before_anything_is_computed(pixels, labels, word):
    with pytest.raises(ValueError, match=word):
        call(Proposes(0.0), pixels, labels)


def test_an_empty_batch_is_attacked_to_an_empty_batch_without_a_run():
    assert call(Proposes(float("nan")), GREY[:0], LABELS[:0]).shape == (0, 3, 4, 4)


def test_an_attack_that_does_not_run_cannot_be_made():
    for base in (Attack, WorstCaseAttack):
        with pytest.raises(TypeError, match="run"):
            base()


def test_a_new_attack_is_a_class_and_an_entry_of_a_suite(attacked):
    victim, images, labels = attacked
    suite = AttackSuite((Proposes(0.0), Proposes(0.0)))
    assert str(suite) == "all pixels by 0.0 x 2"
    outcome = suite(victim, images, labels, ThreatModel("linf", 1.0))
    np.testing.assert_array_equal(outcome.adversarial, images)
    assert not outcome.success.any()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda images, labels: (images / 255, labels), "float64"),
        (lambda images, labels: (images[..., 0], labels), "uint8"),
        (lambda images, labels: (images, labels[:-1]), "labels"),
        (lambda images, labels: (images, labels + 0.5), "float64"),
    ],
)
def test_a_set_that_is_none_is_refused(attacked, change, word):
    victim, images, labels = attacked
    with pytest.raises(ValueError, match=word):
        AttackSuite(())(victim, *change(images, labels), BALLS[0])


def test_no_images_are_attacked_to_no_images(attacked):
    victim, images, labels = attacked
    outcome = AttackSuite((Proposes(0.0),))(victim, images[:0], labels[:0], BALLS[0])
    assert outcome.success.shape == (0,)
