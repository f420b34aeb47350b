import json
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest

from holdfast.attacks.attack import AttackKind, PGDAttack
from holdfast.attacks.losses import Margin
from holdfast.attacks.noise import Noise
from holdfast.attacks.search.worst_case import WorstCase
from holdfast.bundle.reader import Bundle
from holdfast.bundle.threat_model import ThreatModel, ball
from holdfast.errors import HoldfastError
from holdfast.evaluation import Settings, evaluate_fully, recorded_splits
from holdfast.evaluation import suites as plan
from holdfast.evaluation.balls import in_order
from holdfast.evaluation.cache import Work
from holdfast.evaluation.cli import main
from holdfast.evaluation.progress import ProgressEstimate, told_time
from holdfast.evaluation.report import read_report
from holdfast.evaluation.report.results import Report
from holdfast.evaluation.sanity import checks as gates
from holdfast.evaluation.sanity import measurements as checks
from holdfast.evaluation.suites import Effort, Planned
from holdfast.interrupts import TimeUpError

BALLS = (ThreatModel("linf", 8 / 255), ThreatModel("linf", 32 / 255))
TINY = Settings(BALLS, images=24, curve_images=8, plants=1, effort=Effort(steps=3, restarts=2, queries=10, batch_size=8))


@pytest.fixture
def bundle(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "tiny")


@pytest.fixture
def short(monkeypatch):
    """A ladder of three steps and curves of two points: what is tested here is how they are run."""
    steps = (PGDAttack(Margin(0.05), 3), PGDAttack(Margin(0.2), 3), Noise())
    short = tuple(Planned(step, 4.0) for step in steps)
    monkeypatch.setattr(plan, "full", lambda effort, **_: short)
    monkeypatch.setattr(plan, "bank_unknown", lambda effort: short[:1])
    monkeypatch.setattr(checks, "EPSILONS", {"linf": (0.0, 16 / 255), "l2": (0.0, 1.0)})
    return short


def evaluated(bundle, work, settings=TINY, **options):
    manifest = Bundle.open(bundle).manifest
    return evaluate_fully(bundle, recorded_splits(manifest), settings, work=work, **options).report


def timeless(report):
    """What must not depend on when and how often it was interrupted."""
    plain = json.loads(report.model_dump_json())
    for threat in plain["threats"]:
        for step in threat["steps"]:
            step.pop("seconds")
    plain.pop("circumstances")
    return plain


def test_an_interrupted_evaluation_goes_on_and_comes_to_the_same(bundle, tmp_path, short, monkeypatch):
    tried = []
    really = WorstCase.judge

    def spy(self, rows, name, images):
        # The ladders alone: curves, plants and alarms attack other balls, fewer images, or by other steps; and what is
        # inherited has as many names as images.
        of_a_ladder = (
            self.threat in BALLS and len(self._images) == TINY.images and isinstance(name, str) and " less " not in name
        )
        if of_a_ladder and len(tried) == spy.fails_at:
            spy.fails_at = None
            raise KeyboardInterrupt
        really(self, rows, name, images)
        if of_a_ladder:
            tried.append((str(self.threat), len(self.victim.surrogate.labels), name, rows.tolist()))

    monkeypatch.setattr(WorstCase, "judge", spy)
    spy.fails_at = None
    whole = evaluated(bundle, tmp_path / "whole")
    alone = list(tried)
    tried.clear()
    spy.fails_at = 2 * len(alone) // 3
    with pytest.raises(KeyboardInterrupt):
        evaluated(bundle, tmp_path / "twice")
    assert len(tried) == 2 * len(alone) // 3
    again = evaluated(bundle, tmp_path / "twice")
    assert tried == alone
    assert timeless(again) == timeless(whole)
    tried.clear()
    assert timeless(evaluated(bundle, tmp_path / "twice")) == timeless(whole)
    assert tried == []


def clock_of(looks):
    """A clock that says for so many looks that no time has passed, and then that all has."""
    told = iter([0.0] * looks)
    return lambda: next(told, np.inf)


@pytest.mark.parametrize("looks", [pytest.param(2, marks=pytest.mark.slow), 17])
def test_an_evaluation_in_slices_is_the_evaluation_at_one_go(bundle, tmp_path, short, monkeypatch, looks):
    judged = []
    really = WorstCase.judge

    def spy(self, rows, name, images):
        really(self, rows, name, images)
        # What is inherited is judged again in every slice; plants have a victim of their own for each.
        if isinstance(name, str) and len(self._images) > 1:
            judged.append((str(self.threat), len(self._images), len(self.victim.surrogate.labels), name, rows.tolist()))

    monkeypatch.setattr(WorstCase, "judge", spy)
    whole = evaluated(bundle, tmp_path / "whole")
    alone = list(judged)
    judged.clear()
    slices, again = 0, None
    while again is None:
        monkeypatch.setattr("holdfast.evaluation.run.clock", clock_of(looks))
        before = len(judged)
        try:
            again = evaluated(bundle, tmp_path / "sliced", until=1.0)
        except TimeUpError as error:
            assert str(error).startswith("the minutes are over, at ")
            assert len(judged) - before <= looks + 1
            slices += 1
    assert slices >= len(alone) // (looks + 1)
    assert judged == alone
    assert timeless(again) == timeless(whole)


def test_a_report_says_what_happened(bundle, tmp_path, short):
    report = evaluated(bundle, tmp_path / "work")
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
    assert names[:3] == [str(planned.step) for planned in short]
    assert names[3:5] == ["twice the steps: margin tau 0.05", "twice the steps: margin tau 0.2"]
    assert {gate.name for gate in report.gates} >= {"who knows more finds more", "twice the restarts find no more"}
    assert [len(curve.points) for curve in report.curves] == [2, 2]
    assert len(report.examples) == 12
    assert any(example.found_by for example in report.examples)
    for example in report.examples:
        assert (example.clean_answer != example.attacked_answer) == (example.found_by != "")
        assert example.neighbour_pngs.keys() == {n.exemplar for n in (*example.clean_neighbours, *example.attacked_neighbours)}


def test_work_of_another_evaluation_is_refused(bundle, tmp_path, short):
    work = tmp_path / "work"
    Work(work, {"seed": 0, "files": {"encoder.onnx": "aa"}})
    for other in ({"seed": 1, "files": {"encoder.onnx": "aa"}}, {"seed": 0, "files": {"encoder.onnx": "bb"}}):
        with pytest.raises(HoldfastError, match="work of another evaluation"):
            Work(work, other)
    with pytest.raises(HoldfastError, match=r"images: there null, now 24"):
        evaluated(bundle, work)
    (work / "identity.json").write_text("{")
    with pytest.raises(HoldfastError, match="cannot be used"):
        evaluated(bundle, work)


def test_bundle_settings_and_vote_tell_evaluations_apart(exported):
    splits = recorded_splits(Bundle.open(exported).manifest)
    from holdfast.evaluation.context import EvaluationContext

    scene = EvaluationContext.open(exported, splits, images=4, seed=0, threads=1)
    manifest = scene.bundle.manifest
    assert scene.identity["files"]["encoder.onnx"] == manifest.files["encoder.onnx"]
    assert scene.identity["files"]["index.faiss"] == manifest.files["index.faiss"]
    assert scene.identity["vote"]["k"] == 5
    identities = [replace(TINY, **change).identity for change in ({}, {"seed": 1}, {"images": 3}, {"balls": BALLS[:1]})]
    assert all(one != other for i, one in enumerate(identities) for other in identities[:i])
    assert replace(TINY, threads=2).identity == TINY.identity


def test_a_result_is_computed_once(tmp_path):
    work, calls = Work(tmp_path, {}), []

    def compute():
        calls.append(1)
        return 1 / 3

    assert [work.once("third", float, compute) for _ in range(3)] == [1 / 3] * 3
    assert len(calls) == 1
    (tmp_path / "third.json").write_text("nonsense")
    with pytest.raises(HoldfastError, match="remove it"):
        work.once("third", float, compute)


def test_the_full_ladder_is_ordered_by_what_is_known():
    steps = plan.full(Effort(steps=7, restarts=2, queries=30), classes=10, k=5)
    kinds = [planned.step.kind for planned in steps]
    assert kinds == sorted(kinds, key=list(AttackKind).index)
    assert set(kinds) == set(AttackKind)
    names = [str(planned.step) for planned in steps]
    for tau in ("0.02", "0.05", "0.1", "0.2"):
        assert names.count(f"margin tau {tau}") == names.count(f"APGD-CE tau {tau}") == 2
        assert [f"APGD-T tau {tau} class {rank}" in names for rank in (1, 9, 10)] == [True, True, False]
    assert all(planned.cost > 0 for planned in steps)
    assert plan.cost(steps) == sum(planned.cost for planned in steps)
    assert len(plan.full(Effort(), classes=2, k=5)) < len(plan.full(Effort(), classes=10, k=5))


def test_the_time_left_goes_by_cost():
    now = [0.0]
    outlook = ProgressEstimate({"a": 100.0, "b": 300.0, "c": 500.0}, clock=lambda: now[0])
    assert outlook.seconds_left is None
    now[0] = 10.0
    outlook.spend("a", 50.0, 50.0)
    assert outlook.seconds_left == pytest.approx(850 / 5)
    outlook.expect("b", 100.0)
    outlook.close("c")
    assert outlook.seconds_left == pytest.approx(150 / 5)
    now[0] = 30.0
    outlook.finish("a")
    assert outlook.seconds_left == pytest.approx(100 * 30 / 100)
    assert told_time(7500) == "at most about 2 h 5 min left"
    assert told_time(3600) == "at most about 1 h left"


def test_balls_by_their_names():
    assert [ball(text) for text in ("linf:8/255", "l2:0.5", " LINF:0.1 ")] == [
        ThreatModel("linf", 8 / 255),
        ThreatModel("l2", 0.5),
        ThreatModel("linf", 0.1),
    ]
    balls = [ThreatModel("l2", 0.5), ThreatModel("linf", 0.2), ThreatModel("linf", 0.1), ThreatModel("linf", 0.2)]
    assert in_order(balls) == (balls[2], balls[1], balls[0])


@pytest.mark.parametrize(
    "text", ["", "8/255", "l1:1", "linf:", "linf:x", "linf:1/0", "linf:0", "l2:-1", "linf:8", "l2:inf", "l2:nan"]
)
def test_what_is_no_ball_is_refused(text):
    with pytest.raises(HoldfastError, match="is no ball|reaches beyond"):
        ball(text)


def test_the_command_attacks_with_everything_and_reports(bundle, exported, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checks, "EPSILONS", {"linf": (0.0, 16 / 255), "l2": (0.0, 1.0)})
    flags = "--full --images 6 --steps 1 --restarts 1 --queries 12 --targets 1 --curve-images 6 --plants 1 --batch-size 6"
    other = shutil.copytree(exported, tmp_path / "other")
    arguments = [str(bundle), *flags.split(), "--balls", "linf:32/255", "--transfer-from", str(other), "--record"]
    status = main(arguments)
    report = read_report(bundle)
    # Six images and one gradient are no honest evaluation, and that is what it says.
    assert (status, report.passed) == (3, False)
    told = " ".join(capsys.readouterr().out.split())
    assert "L-inf 32/255, bank known: robust" in told
    assert "accuracy measured at 2 radii in l2, by PGD-1; at most" in told
    failed = {gate.name for gate in report.gates if not gate.passed}
    assert failed
    assert all(f"FAILED {name}" in told for name in failed)
    kinds = {step.kind for step in report.threats[0].steps}
    assert kinds == {"white box", "transfer", "black box", "random"}
    assert any("transfer from other" in step.name for step in report.threats[0].steps)
    assert report.circumstances.command.startswith("python -m holdfast.evaluation ")
    assert (bundle / "report" / "index.html").is_file()
    accuracy = Bundle.open(bundle).manifest.accuracy
    assert (accuracy.images, accuracy.norm, accuracy.epsilon) == (6, "linf", 32 / 255)
    assert accuracy.robust == report.threats[0].robust.value
    assert main([*arguments, "--seed", "1"]) == 1
    assert "seed: there 0, now 1" in " ".join(capsys.readouterr().out.split())


def test_the_command_succeeds_where_every_gate_holds(bundle, tmp_path, short, monkeypatch):
    held = gates.everything_falls(gates.Rate(0, 5))
    assert held.passed
    monkeypatch.setattr(checks, "verdicts", lambda *_: (held,))
    flags = ["--full", "--images", "4", "--steps", "1", "--restarts", "1", "--balls", "linf:32/255"]
    assert main([str(bundle), *flags, "--work", str(tmp_path / "w")]) == 0


def test_an_interrupted_command_says_how_to_go_on(bundle, short, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(WorstCase, "judge", interrupted)
    assert main([str(bundle), "--full", "--images", "4", "--balls", "linf:32/255"]) == 130
    assert "the same command goes on from here" in capsys.readouterr().out


def test_a_slice_ends_with_a_status_of_its_own_and_the_same_command_goes_on(bundle, short, monkeypatch, capsys):
    monkeypatch.setattr(checks, "verdicts", lambda *_: (gates.everything_falls(gates.Rate(0, 5)),))
    flags = ["--full", "--images", "4", "--steps", "1", "--restarts", "1", "--balls", "linf:32/255"]
    for _ in range(2):
        assert main([str(bundle), *flags, "--minutes", "1e-9"]) == 75
        told = " ".join(capsys.readouterr().out.split())
        assert "the minutes are over, at curve-1-steps-linf-" in told
        assert "the same command goes on from there" in told
    assert not (bundle / "report").exists()
    assert main([str(bundle), *flags, "--minutes", "60"]) == 0
    assert (bundle / "report" / "index.html").is_file()


def test_sigterm_ends_it_as_ctrl_c_does(bundle, short, monkeypatch, capsys):
    really, judged = WorstCase.judge, []

    def judge(self, rows, name, images):
        really(self, rows, name, images)
        judged.append(name)
        if len(judged) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(WorstCase, "judge", judge)
    assert main([str(bundle), "--full", "--images", "4", "--batch-size", "2", "--balls", "linf:32/255"]) == 143
    assert signal.getsignal(signal.SIGTERM) == handler
    assert "the same command goes on from here" in capsys.readouterr().out
    work = bundle.with_name(f"{bundle.name}.evaluation")
    assert (work / "seconds.json").is_file()
    assert list(work.glob("curve-*.npz"))


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--images", "-1"], "--images must be at least 0"),
        (["--steps", "0"], "--steps must be at least 1"),
        (["--full", "--queries", "0"], "--queries must be at least 1"),
        (["--epsilon", "-1"], "--epsilon must be"),
        (["--balls", "linf:8/255"], "--balls needs --full"),
        (["--minutes", "9"], "--minutes needs --full"),
        (["--full", "--minutes", "-1"], "--minutes must be at least 0"),
        (["--full", "--epsilon", "0.1"], "--full takes its balls by --balls"),
        (["--full", "--balls", "linf:8"], "so write 8/255"),
        (["--full", "--balls", "l2:1", "--record"], "add linf:"),
        (["--full", "--transfer-from", "nowhere"], "nowhere is not a bundle"),
        (["--full", "--images", "0", "--data-dir", "/nowhere", "--balls", "l7:1"], "is no ball"),
    ],
)
def test_the_command_says_what_is_wrong(exported, capsys, flags, told):
    assert main([str(exported), *flags]) == 1
    assert told in " ".join(capsys.readouterr().out.split())


def test_a_missing_library_is_named_before_anything_is_attacked(exported, capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    assert main([str(exported), "--full", "--images", "4"]) == 1
    assert "holdfast[eval]" in " ".join(capsys.readouterr().out.split())


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    for word in ("--full", "--balls", "--transfer-from", "runs/digits --full", "exit status", "3 a gate failed"):
        assert word in told


def test_rows_are_those_of_the_test_set(exported):
    from holdfast.evaluation.context import EvaluationContext

    splits = recorded_splits(Bundle.open(exported).manifest)
    scene = EvaluationContext.open(exported, splits, images=30, seed=3, threads=1)
    np.testing.assert_array_equal(splits.test.images[scene.rows], scene.images)
    assert len(scene.spare) == len(splits.calibration) + len(splits.test) - 30
    attacked = {image.tobytes() for image in scene.images}
    assert not attacked & {image.tobytes() for image in scene.spare.images}
