"""What attacked exemplars are worth: an index with them and the same without them, each attacked by itself."""

from dataclasses import replace

import numpy as np
import pytest

from holdfast.bundle.exemplars import Flag
from holdfast.bundle.reader import Bundle
from holdfast.bundle.threat_model import ThreatModel
from holdfast.evaluation import quick_plan, recorded_splits, run_plan
from holdfast.evaluation.context import EvaluationContext, only_test
from holdfast.evaluation.plan import QUICK, Section
from holdfast.evaluation.stages.hardening import two_indices
from holdfast.index_build import build_index
from holdfast.index_build.harden import Hardening
from tests.holdfast.evaluation.test_pipeline import ONE_LOSS

BALLS = (ThreatModel("linf", 8 / 255), ThreatModel("linf", 32 / 255))
PLAN = replace(
    quick_plan(BALLS[1], ONE_LOSS, images=30), sections=QUICK | {Section.HARDENING}, hardening_balls=BALLS, curve_images=12
)


@pytest.fixture
def splits(bundle):
    return recorded_splits(Bundle.open(bundle).manifest)


@pytest.fixture
def hardened(bundle, splits):
    build_index(bundle, splits, hardening=Hardening(0.5, BALLS[1]), half=True, quiet=True)
    return bundle


def test_the_other_index_has_the_images_as_they_were(hardened, splits, tmp_path) -> None:
    context = EvaluationContext.open(hardened, splits, PLAN)
    two = two_indices(context)
    np.testing.assert_array_equal(two.hardened.answer(context.images), context.victim.answer(context.images))
    build_index(hardened, splits, half=True, quiet=True)
    never = EvaluationContext.open(hardened, splits, PLAN)
    assert two.instead == "the same images, not attacked"
    np.testing.assert_array_equal(two.plain.answer(splits.test.images), never.victim.answer(splits.test.images))
    np.testing.assert_allclose(two.plain.surrogate.bank.numpy(), never.victim.surrogate.bank.numpy(), atol=1e-3)


def test_without_the_data_set_attacked_exemplars_are_left_out(hardened, splits) -> None:
    context = EvaluationContext.open(hardened, only_test(splits.test), PLAN)
    two, flags = two_indices(context), context.bundle.exemplars.flags
    assert two.instead == "nothing"
    assert len(two.plain.surrogate.labels) == np.count_nonzero(flags & Flag.ATTACKED == 0) < len(two.hardened.surrogate.labels)


def test_both_are_measured_clean_and_within_every_ball_on_the_same_images(hardened, splits) -> None:
    evaluation = run_plan(hardened, splits, PLAN)
    found = evaluation.hardened
    assert (found.exemplars, found.attacked) == (len(splits.train), round(len(splits.train) / 2))
    assert found.attack == str(PLAN.curve_attack)
    clean, *robust = found.accuracies
    answers = Bundle.open(hardened).classifier().classify(splits.test.images)
    assert clean.hardened.successes == (answers.labels == splits.test.labels).sum()
    assert [one.condition for one in found.accuracies] == ["clean", *map(str, BALLS)]
    assert {one.hardened.trials for one in robust} == {one.plain.trials for one in robust} == {12}
    small, large = robust
    assert large.hardened.successes <= small.hardened.successes
    assert large.plain.successes <= small.plain.successes
    for one in found.accuracies:
        assert one.difference == pytest.approx(one.hardened.value - one.plain.value)
        assert one.low <= one.difference <= one.high


def test_of_an_index_without_attacked_exemplars_there_is_nothing_to_say(bundle, splits) -> None:
    assert run_plan(bundle, splits, PLAN).hardened is None
