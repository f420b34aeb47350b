from dataclasses import replace

import pytest

from holdfast.attacks.noise import NoiseAttack
from holdfast.bundle.threat_model import ThreatModel, ball
from holdfast.errors import HoldfastError
from holdfast.evaluation.plan import EvaluationPlan, Section, in_order, quick_plan, slug
from tests.holdfast.evaluation.short import BALLS, TINY


def test_what_changes_the_result_changes_the_identity():
    changes = {}, {"seed": 1}, {"images": 3}, {"balls": BALLS[:1]}, {"attack": NoiseAttack()}
    identities = [replace(TINY, **change).identity for change in changes]
    assert all(one != other for i, one in enumerate(identities) for other in identities[:i])
    assert replace(TINY, threads=2).identity == TINY.identity


def test_a_quick_plan_is_one_attack_and_a_full_one_has_every_section():
    quick, full = quick_plan(), EvaluationPlan()
    assert quick.knowledge == ("bank known",)
    assert quick.sections == {Section.AGREEMENT}
    assert quick.sections | full.sections == set(Section)


def test_sanity_checks_need_the_curves():
    with pytest.raises(ValueError, match="curves"):
        EvaluationPlan(sections=frozenset({Section.SANITY_CHECKS}))


def test_prediction_sets_need_credibility():
    with pytest.raises(ValueError, match="credibility"):
        EvaluationPlan(sections=frozenset({Section.SETS}))


def test_balls_by_their_names():
    assert [ball(text) for text in ("linf:8/255", "l2:0.5", " LINF:0.1 ")] == [
        ThreatModel("linf", 8 / 255),
        ThreatModel("l2", 0.5),
        ThreatModel("linf", 0.1),
    ]
    balls = [ThreatModel("l2", 0.5), ThreatModel("linf", 0.2), ThreatModel("linf", 0.1), ThreatModel("linf", 0.2)]
    assert in_order(balls) == (balls[2], balls[1], balls[0])
    assert len({slug(each) for each in balls}) == 3


@pytest.mark.parametrize(
    "text", ["", "8/255", "l1:1", "linf:", "linf:x", "linf:1/0", "linf:0", "l2:-1", "linf:8", "l2:inf", "l2:nan"]
)
def test_what_is_no_ball_is_refused(text):
    with pytest.raises(HoldfastError, match="is no ball|reaches beyond"):
        ball(text)
