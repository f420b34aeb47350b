import shutil
from dataclasses import replace

import numpy as np
import pytest

from holdfast.attacks.adaptive import LOSSES, AdaptiveAttack
from holdfast.attacks.detectors import NAMES
from holdfast.attacks.noise import NoiseAttack
from holdfast.bundle.reader import Bundle
from holdfast.bundle.threat_model import ThreatModel
from holdfast.errors import HoldfastError
from holdfast.evaluation import evaluate, quick_plan, recorded_splits, run_plan
from holdfast.evaluation.plan import QUICK, Section
from holdfast.evaluation.report.results import Report
from holdfast.evaluation.stages.shifts import CAMERAS, MOVES, SHIFTS, noise
from holdfast.index_build.calibrate import recalibrate
from holdfast.interrupts import TimeUpError
from tests.holdfast.evaluation.conftest import shorten
from tests.holdfast.evaluation.short import BALLS, TINY, Recorder, evaluated, timeless

OWN_BALL = ThreatModel("linf", 32 / 255)
ONE_LOSS = AdaptiveAttack(losses=LOSSES[1:2], steps=8)


# One attack within one ball


@pytest.mark.parametrize("with_torch", [True, False])
def test_an_evaluation_counts_what_is_served(exported, encoder, digits, with_torch):
    evaluation = evaluate(exported, digits.test, encoder=encoder if with_torch else None, attack=ONE_LOSS, limit=40)
    outcome, labels = evaluation.outcome, evaluation.labels
    served = Bundle.open(exported).classifier().classify
    assert evaluation.threat == OWN_BALL
    np.testing.assert_array_equal(served(evaluation.images).labels, outcome.clean_labels)
    np.testing.assert_array_equal(served(outcome.adversarial).labels, outcome.adversarial_labels)
    assert evaluation.clean.successes == (outcome.clean_labels == labels).sum() > 25
    still = (outcome.clean_labels == labels) & (outcome.adversarial_labels == labels)
    assert evaluation.robust.successes == still.sum() < evaluation.clean.successes / 2
    assert evaluation.dsr.trials == evaluation.clean.successes
    assert evaluation.dsr.value * evaluation.clean.value == pytest.approx(evaluation.robust.value)
    assert evaluation.agreement.value > 0.6
    assert sum(evaluation.found_by.values()) == outcome.success.sum()


def test_gradients_of_torch_and_of_the_graph_find_nearly_the_same(exported, encoder, digits):
    by_torch, by_onnx = (
        evaluate(exported, digits.test, encoder=e, attack=ONE_LOSS, limit=60).robust.value for e in (encoder, None)
    )
    assert abs(by_torch - by_onnx) <= 0.1


def test_a_larger_ball_leaves_no_more_survivors(exported, encoder, digits):
    robust = [
        evaluate(exported, digits.test, encoder=encoder, attack=ONE_LOSS, limit=60, threat=ThreatModel("linf", e / 255))
        for e in (0, 2, 8, 24, 64)
    ]
    values = [evaluation.robust.value for evaluation in robust]
    assert values == sorted(values, reverse=True)
    assert values[0] == robust[0].clean.value


def test_noise_is_an_attack_like_any_other(exported, digits):
    assert "noise" in evaluate(exported, digits.test, attack=NoiseAttack(), limit=20).attack


def test_a_quick_evaluation_has_no_report(exported, digits):
    with pytest.raises(ValueError, match="credibility"):
        _ = evaluate(exported, digits.test, attack=NoiseAttack(), limit=5).report


def test_sections_can_be_combined(exported, digits):
    """The quick attack, with the pictures of a report."""
    plan = replace(quick_plan(attack=NoiseAttack(), images=20), sections=QUICK | {Section.GALLERY, Section.CREDIBILITY})
    evaluation = run_plan(exported, recorded_splits(Bundle.open(exported).manifest), plan)
    assert evaluation.agreement.trials == len(evaluation.labels) == 20
    assert evaluation.credibility.clean.trials == len(digits.test)
    assert evaluation.examples
    assert evaluation.sanity_checks == evaluation.curves == ()


# Everything


@pytest.fixture(scope="module")
def whole(exported, tmp_path_factory):
    """An evaluation at one go, and what its attacks were asked."""
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch, recorder)
        return evaluated(exported, tmp_path_factory.mktemp("whole") / "cache"), recorder.asked


def interrupt():
    raise KeyboardInterrupt


def test_an_interrupted_evaluation_goes_on_and_comes_to_the_same(bundle, tmp_path, short, recorder, whole):
    report, alone = whole[0].report, whole[1]
    recorder.at, recorder.event = 2 * len(alone) // 3, interrupt
    with pytest.raises(KeyboardInterrupt):
        evaluated(bundle, tmp_path / "twice")
    assert len(recorder.asked) == 2 * len(alone) // 3
    again = evaluated(bundle, tmp_path / "twice").report
    assert recorder.asked == alone
    assert timeless(again) == timeless(report)
    recorder.asked.clear()
    assert timeless(evaluated(bundle, tmp_path / "twice").report) == timeless(report)
    assert recorder.asked == []


def clock_of(looks):
    """A clock that says for so many looks that no time has passed, and then that all has."""
    times = iter([0.0] * looks)
    return lambda: next(times, np.inf)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("looks", [pytest.param(2, marks=pytest.mark.slow), 17])
def test_an_evaluation_in_slices_is_the_evaluation_at_one_go(bundle, recorder, monkeypatch, looks, whole):
    report, alone = whole[0].report, whole[1]
    slices, again = 0, None
    while again is None:
        monkeypatch.setattr("holdfast.evaluation.run.clock", clock_of(looks))
        before = len(recorder.asked)
        try:
            again = evaluated(bundle, bundle.with_name("sliced"), until=1.0).report
        except TimeUpError as error:
            assert "minutes" in str(error)
            assert len(recorder.asked) - before <= looks + 1
            slices += 1
    assert slices >= len(alone) // (looks + 1)
    assert recorder.asked == alone
    assert timeless(again) == timeless(report)


def test_a_report_says_what_happened(short, whole):
    evaluation, _ = whole
    report = evaluation.report
    assert Report.model_validate_json(report.model_dump_json()) == report
    assert report.clean.trials == 400
    assert report.attacked_images == 24
    known, unknown = report.threats[:2], report.threats[2:]
    assert [threat.knowledge for threat in known + unknown] == ["bank known"] * 2 + ["bank unknown"] * 2
    for smaller, larger in (known, unknown):
        assert smaller.clean == larger.clean
        assert larger.robust.successes <= smaller.robust.successes
        assert larger.inherited == smaller.clean.successes - smaller.robust.successes
    for threat in report.threats:
        found = threat.inherited + sum(step.found for step in threat.steps)
        assert threat.clean.successes - found == threat.robust.successes
    assert known[1].robust.successes < known[1].clean.successes
    names = [step.name for step in known[0].steps]
    assert names[:3] == short
    assert names[3:5] == [f"twice the steps: {name}" for name in short[:2]]
    assert len({check.name for check in report.sanity_checks}) == 12
    assert [len(curve.points) for curve in report.curves] == [2, 2]
    assert len(report.examples) == 12
    assert any(example.found_by for example in report.examples)
    for example in report.examples:
        assert (example.clean_answer != example.attacked_answer) == (example.found_by != "")
        assert example.neighbour_pngs.keys() == {n.exemplar for n in (*example.clean_neighbours, *example.attacked_neighbours)}
    # What is shown and recorded is the bundle's own ball.
    assert evaluation.threat == OWN_BALL
    assert evaluation.accuracy.robust == known[1].robust.value


def test_abstention_and_detectors_are_measured_against_one_who_aims_at_them(bundle, tmp_path, short):
    recalibrate(bundle)
    evaluation = evaluated(bundle, tmp_path / "cache")
    report, labels = evaluation.report, evaluation.labels
    classifier = Bundle.open(bundle).classifier()
    assert [one.attacker for one in report.selective] == ["nobody", "aims at it", "aims at it"]
    for found, said in zip(evaluation.aimed, report.aimed, strict=True):
        plain, outcome = found.plain.outcome, found.outcome
        for images in (evaluation.images, plain.adversarial):
            answers = classifier.classify(images)
            assert (outcome.wrong | (answers.labels == labels)).all()
            wrong = answers.labels != labels
            assert (-outcome.suspicion >= answers.credibility)[wrong].all()
        before = classifier.classify(plain.adversarial)
        assert said.ignoring.successes == ((before.labels != labels) & ~before.abstain).sum() <= said.answered.successes
        after = classifier.classify(outcome.adversarial)
        assert said.wrong.successes == (after.labels != labels).sum() == outcome.wrong.sum()
        assert said.answered.successes == ((after.labels != labels) & ~after.abstain).sum()
    small, large = (found.outcome for found in evaluation.aimed)
    assert (large.suspicion <= small.suspicion).all()
    last = report.selective[-1].points[-1]
    assert last.coverage == 1
    assert last.error == pytest.approx(large.wrong.mean())
    assert [detector.name for detector in report.detectors] == [name for name in NAMES if name != "marked neighbours"]
    for each in report.detectors:
        assert each.roc[-1].false_alarms == each.roc[-1].aiming == 1
        assert all(one.aiming <= other.aiming for one, other in zip(each.roc, each.roc[1:], strict=False))
    conditions = [(one.judgement, one.condition) for one in report.rankings]
    assert conditions[:3] == [("credibility", name) for name in ("clean", "shifted", f"attacked, {OWN_BALL}")]
    assert len(conditions) == 3 * len(report.detectors)
    for one in report.shifts:
        images = len(labels) * (CAMERAS if one.name == "another camera" else 1)
        assert {each.trials for each in (one.accuracy, one.answered, one.wrong, one.flips)} == {images}
        assert one.wrong.successes <= one.answered.successes
    assert len(report.shifts) == 2 + len(SHIFTS) + len(MOVES)
    assert report.shifts[0].flips.successes == 0
    noisy = classifier.classify(noise(evaluation.images))
    assert report.shifts[1].accuracy.successes == (noisy.labels == labels).sum()
    assert [(one.threat, one.images, len(one.results)) for one in report.sets] == [(str(ball), 8, 36) for ball in BALLS]
    for one in report.sets[-1].results:
        if one.calibration == "attacked images" and one.condition.endswith("true label"):
            assert one.covered.high >= 1 - one.level
    test = recorded_splits(Bundle.open(bundle).manifest).test
    assert report.rankings[0].errors == (classifier.classify(test.images).labels != test.labels).sum()


def test_a_ball_that_is_not_the_bundles_own_is_not_recorded(bundle, tmp_path, short):
    plan = replace(TINY, balls=BALLS[:1], images=6, knowledge=("bank known",))
    evaluation = evaluated(bundle, tmp_path / "cache", plan)
    assert evaluation.accuracy is None
    assert [threat.knowledge for threat in evaluation.report.threats] == ["bank known"]


def test_results_of_another_evaluation_are_refused(bundle, tmp_path, short, recorder):
    recorder.at, recorder.event = 0, interrupt
    with pytest.raises(KeyboardInterrupt):
        evaluated(bundle, tmp_path, replace(TINY, images=6))
    with pytest.raises(HoldfastError, match=r"images: there 6, now 24"):
        evaluated(bundle, tmp_path)


def test_a_cache_can_be_continued_with_other_threads_but_not_with_another_source(bundle, exported, tmp_path, short, recorder):
    plan = replace(TINY, images=6, knowledge=("bank known",))
    one = evaluated(bundle, tmp_path / "cache", plan).report
    recorder.asked.clear()
    assert timeless(evaluated(bundle, tmp_path / "cache", replace(plan, threads=2)).report) == timeless(one)
    assert recorder.asked == []
    other = shutil.copytree(exported, tmp_path / "other")
    with pytest.raises(HoldfastError, match="transfer from"):
        evaluated(bundle, tmp_path / "cache", plan, transfer_from=(other,))
