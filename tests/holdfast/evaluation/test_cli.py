import os
import shlex
import shutil
import signal
import sys

import pytest
from markupsafe import Markup

from holdfast.attacks.detectors import NAMES
from holdfast.bundle.reader import Bundle, read_manifest
from holdfast.bundle.threat_model import ThreatModel
from holdfast.bundle.writer import BundleWriter
from holdfast.evaluation import sections
from holdfast.evaluation.cli import main
from holdfast.evaluation.recorded import recorded_splits
from holdfast.evaluation.report import read_report, write_report
from holdfast.evaluation.report.plots import charts, clouds, judged
from holdfast.evaluation.sanity import checks
from holdfast.evaluation.stages import curves
from holdfast.index_build import build_index
from holdfast.index_build.calibrate import recalibrate
from holdfast.index_build.harden import Hardening
from holdfast.intervals import Rate
from tests.holdfast.evaluation.report.made_up import full_report, threat

pytestmark = pytest.mark.usefixtures("unplotted")

ONE_BALL = ["--full", "--images", "4", "--steps", "1", "--restarts", "1", "--balls", "linf:32/255"]


def printed(capsys) -> str:
    return " ".join(capsys.readouterr().out.split())


def complained(capsys) -> str:
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture
def unplotted(monkeypatch):
    """Pages without their plots, which take longest of all and have tests of their own, beside those of the report."""
    for module in (charts, clouds, judged):
        monkeypatch.setattr(module, "inline", lambda figure, name, alt: Markup("<svg></svg>"))


@pytest.fixture
def only_one_check(monkeypatch):
    """A full evaluation whose only sanity check passes."""
    passed = checks.everything_falls(Rate(0, 5))
    assert passed.passed
    monkeypatch.setattr(sections, "sanity_checks", lambda *_: (passed,))


def test_it_measures_and_records(bundle, capsys):
    assert main([str(bundle), "--images", "20", "--steps", "2", "--epsilon", "0.05", "--record"]) == 0
    assert "robust accuracy" in printed(capsys)
    accuracy = Bundle.open(bundle).manifest.accuracy
    assert accuracy is not None
    assert (accuracy.images, accuracy.epsilon, accuracy.norm) == (20, 0.05, "linf")
    assert accuracy.robust < accuracy.clean
    assert "PGD-2" in accuracy.attack


def test_credibility_is_measured_again_and_all_that_attacks_found_stands(bundle, digits, tmp_path, capsys):
    again = [str(bundle), "--images", "12", "--steps", "1", "--credibility", "--curve-images", "6"]
    assert main(again) == 2
    assert "report.json" in complained(capsys)
    recalibrate(bundle)
    opened = Bundle.open(bundle)
    loud = full_report().detectors[0]
    subject = full_report().subject.model_copy(update={"abstain_below": 0.9})
    write_report(bundle, full_report(detectors=(loud, loud.model_copy(update={"name": "credibility"})), subject=subject))
    assert main(again) == 2
    assert "another encoder or index" in complained(capsys)
    theirs = {
        "class_names": opened.class_names,
        "encoder_sha256": opened.manifest.files["encoder.onnx"],
        "index_sha256": opened.manifest.index_sha256,
    }
    before = read_report(bundle).model_copy(update={"subject": subject.model_copy(update=theirs)})
    write_report(bundle, before)
    assert main(again) == 0
    report = read_report(bundle)
    for name in ("threats", "curves", "sanity_checks", "cloud", "training", "provenance", "attacked_images"):
        assert getattr(report, name) == getattr(before, name)
    assert [one.name for one in report.detectors] == [name for name in NAMES if name != "marked neighbours"]
    assert [one.threat for one in report.aimed] == [str(opened.manifest.ball)]
    assert all(one.clean_credibility is one.attacked_credibility is None for one in report.examples)
    assert report.subject.abstain_below == opened.manifest.calibration.abstain_below
    assert [(one.name, one.attacker) for one in report.selective] == [
        ("clean", "nobody"),
        (str(opened.manifest.ball), "aims at it"),
    ]
    assert shlex.join(["holdfast", "evaluate", *again]) in report.remeasured
    answers = opened.classifier().classify(digits.test.images)
    assert report.clean.successes == (answers.labels == digits.test.labels).sum()
    kept = sum(one.coverage.successes for one in report.classes)
    assert kept == (~answers.abstain).sum()
    assert sum(one.exemplars for one in report.classes) == len(digits.train)
    assert all(point.true_labels.low <= point.level for point in report.validity)
    assert all(point.answers.successes <= point.true_labels.successes for point in report.validity)
    text = printed(capsys)
    assert "validity" in text
    assert "answered and wrong under attack" in text
    # Another ball comes beside the first, while credibility is the same.
    assert main([*again, "--balls", "linf:8/255", "--cache", str(tmp_path / "other")]) == 0
    both = read_report(bundle)
    assert (both.detectors, both.rankings) == (report.detectors, report.rankings)
    assert [one.threat for one in both.aimed] == ["L-inf 8/255", report.aimed[0].threat]
    assert (both.aimed[1], both.selective[2], both.sets[1]) == (report.aimed[0], report.selective[1], report.sets[0])
    assert both.remeasured.startswith(report.remeasured)
    manifest = read_manifest(bundle)
    BundleWriter.open(bundle).commit(
        manifest.model_copy(update={"calibration": manifest.calibration.model_copy(update={"abstain_below": 0.5})})
    )
    assert main([*again, "--balls", "linf:8/255", "--cache", str(tmp_path / "third")]) == 0
    strict = read_report(bundle)
    assert [one.threat for one in strict.aimed] == ["L-inf 8/255"]
    assert strict.detectors == ()


def test_a_run_without_suites_claims_no_less_than_the_suites_found(bundle):
    recalibrate(bundle)
    manifest = read_manifest(bundle)
    theirs = {
        "class_names": manifest.class_names,
        "encoder_sha256": manifest.files["encoder.onnx"],
        "index_sha256": manifest.index_sha256,
        "abstain_below": manifest.abstain_below,
    }
    rows = tuple(range(len(recorded_splits(manifest).test)))
    suite = threat("l2", 0.001, "bank known", ()).model_copy(update={"wrong_images": rows})
    report = full_report(threats=(suite,))
    write_report(bundle, report.model_copy(update={"subject": report.subject.model_copy(update=theirs)}))
    quick = ["--images", "12", "--steps", "1", "--curve-images", "6", "--balls", "l2:0.001"]
    assert main([str(bundle), "--credibility", *quick]) == 0
    (aimed,) = read_report(bundle).aimed
    assert aimed.wrong.successes == aimed.wrong.trials == len(aimed.wrong_images) == 12
    assert aimed.beyond > 0
    assert aimed.stopped <= 12 - aimed.beyond


def with_report(bundle):
    """A report of other figures, as if it were the bundle's own."""
    manifest = read_manifest(bundle)
    theirs = {"encoder_sha256": manifest.files["encoder.onnx"], "index_sha256": manifest.index_sha256}
    report = full_report()
    write_report(bundle, report.model_copy(update={"subject": report.subject.model_copy(update=theirs)}))
    return read_report(bundle)


def test_shifts_are_measured_by_themselves_and_the_rest_of_the_report_stands(bundle, capsys):
    assert main([str(bundle), "--shifts"]) == 2
    assert "measure the bundle first" in complained(capsys)
    before = with_report(bundle)
    assert main([str(bundle), "--shifts", "--images", "12"]) == 0
    report = read_report(bundle)
    assert report.model_copy(update={"shifts": before.shifts}) == before
    clean = next(shift for shift in report.shifts if shift.name == "clean")
    assert (clean.accuracy.trials, clean.flips.successes) == (12, 0)
    assert {"noise", "compression", "another camera"} < {shift.name for shift in report.shifts}
    assert "compression" in printed(capsys)


def test_attacked_exemplars_are_measured_by_themselves_and_the_rest_of_the_report_stands(bundle, capsys):
    splits = recorded_splits(read_manifest(bundle))
    words = [str(bundle), "--hardening", "--images", "12", "--curve-images", "5", "--balls", "linf:32/255"]

    with_report(bundle)
    assert main([*words, "--cache", str(bundle.with_name("plain"))]) == 2
    assert "holdfast index --harden" in complained(capsys)
    build_index(bundle, splits, hardening=Hardening(0.5, ThreatModel("linf", 32 / 255)), quiet=True)
    before = with_report(bundle)
    assert main(words) == 0
    report = read_report(bundle)
    assert report.model_copy(update={"hardened": before.hardened}) == before
    assert [one.condition for one in report.hardened.accuracies] == ["clean", "L-inf 32/255"]
    assert [one.plain.trials for one in report.hardened.accuracies] == [len(splits.test), 5]
    assert report.hardened.command == shlex.join(["holdfast", "evaluate", *words])
    assert "attacked exemplars" in printed(capsys)


def test_what_is_no_bundle_is_refused(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "not a bundle" in complained(capsys)


def test_everything_is_attacked_and_reported(bundle, exported, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(curves, "EPSILONS", {"linf": (0.0, 16 / 255), "l2": (0.0, 1.0)})
    flags = "--full --images 6 --steps 1 --restarts 1 --queries 12 --targets 1 --curve-images 6 --plants 1 --batch-size 6"
    other = shutil.copytree(exported, tmp_path / "other")
    arguments = [str(bundle), *flags.split(), "--balls", "linf:32/255", "--transfer-from", str(other), "--record"]
    status = main(arguments)
    report = read_report(bundle)
    # Six images and one gradient are no honest evaluation, and that is what it says.
    assert (status, report.passed) == (3, False)
    text = printed(capsys)
    assert "L-inf 32/255, bank known: robust" in text
    assert "2 radii in l2, by PGD-1; at most" in text
    failed = {check.name for check in report.sanity_checks if not check.passed}
    assert failed
    assert all(f"FAILED {name}" in text for name in failed)
    kinds = {step.kind for step in report.threats[0].steps}
    assert kinds == {"white box", "transfer", "black box", "random"}
    assert any("transfer from other" in step.name for step in report.threats[0].steps)
    assert report.provenance.command.startswith("holdfast evaluate ")
    assert (bundle / "report" / "index.html").is_file()
    accuracy = Bundle.open(bundle).manifest.accuracy
    assert (accuracy.images, accuracy.norm, accuracy.epsilon) == (6, "linf", 32 / 255)
    assert accuracy.robust == report.threats[0].robust.value
    assert main([*arguments, "--seed", "1"]) == 2
    assert "seed: there 0, now 1" in complained(capsys)


def test_the_status_is_0_where_every_check_passes(bundle, tmp_path, short, only_one_check):
    assert main([str(bundle), *ONE_BALL, "--cache", str(tmp_path / "c")]) == 0
    assert (tmp_path / "c" / "identity.json").is_file()


@pytest.mark.usefixtures("short", "only_one_check")
def test_ctrl_c_has_a_status_of_its_own_and_the_same_command_goes_on(bundle, recorder, capsys):
    def interrupt():
        raise KeyboardInterrupt

    recorder.at, recorder.event = 1, interrupt
    assert main([str(bundle), *ONE_BALL]) == 130
    assert "the same command" in complained(capsys)
    assert main([str(bundle), *ONE_BALL]) == 0


def test_a_slice_has_a_status_of_its_own_and_the_same_command_goes_on(bundle, short, only_one_check, capsys):
    for _ in range(2):
        assert main([str(bundle), *ONE_BALL, "--minutes", "1e-9"]) == 75
        text = complained(capsys)
        assert "minutes" in text
        assert "the same command" in text
    assert not (bundle / "report").exists()
    assert main([str(bundle), *ONE_BALL, "--minutes", "60"]) == 0
    assert (bundle / "report" / "index.html").is_file()


def test_the_quick_table_comes_out_in_slices_as_at_one_go(bundle, short, capsys):
    quick = [str(bundle), "--images", "12", "--steps", "2", "--batch-size", "4", "--epsilon", "0.05", "--record"]
    assert main(quick) == 0
    whole = read_manifest(bundle).accuracy
    kept = bundle.with_name(f"{bundle.name}.table")
    assert not kept.exists()
    slices = 0
    while (status := main([*quick, "--minutes", "1e-9"])) == 75:
        slices += 1
        assert "the same command" in complained(capsys)
    assert status == 0
    assert slices > 2
    assert read_manifest(bundle).accuracy == whole


def test_sigterm_ends_it_as_ctrl_c_does(bundle, short, recorder, capsys):
    recorder.at, recorder.event = 1, lambda: os.kill(os.getpid(), signal.SIGTERM)
    handler = signal.getsignal(signal.SIGTERM)
    assert main([str(bundle), *ONE_BALL, "--batch-size", "2"]) == 143
    assert signal.getsignal(signal.SIGTERM) == handler
    assert "the same command" in complained(capsys)
    cache = bundle.with_name(f"{bundle.name}.evaluation")
    assert (cache / "seconds.json").is_file()
    assert list(cache.glob("curve-*.npz"))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--images", "-1"], "--images must be at least 0"),
        (["--steps", "0"], "--steps must be at least 1"),
        (["--full", "--queries", "0"], "--queries must be at least 1"),
        (["--epsilon", "8"], "did you mean 8/255"),
        (["--balls", "linf:8/255"], "--balls needs --full"),
        (["--full", "--credibility"], "leave --credibility away"),
        (["--credibility", "--queries", "9"], "--queries needs --full"),
        (["--credibility", "--balls", "linf:0.1", "--epsilon", "0.1"], "not both"),
        (["--credibility", "--record"], "leave --record away"),
        (["--full", "--hardening"], "leave --hardening away"),
        (["--credibility", "--hardening"], "one after the other"),
        (["--shifts", "--hardening"], "one after the other"),
        (["--shifts", "--epsilon", "0.1"], "attacks nothing"),
        (["--shifts", "--curve-images", "3"], "--curve-images needs --full"),
        (["--hardening", "--steps", "3"], "--balls"),
        (["--hardening", "--plants", "3"], "--plants needs --full"),
        (["--shifts", "--minutes", "9"], "--minutes needs --full"),
        (["--minutes", "-1"], "--minutes must be at least 0"),
        (["--batch-size", "0"], "--batch-size must be at least 1"),
        (["--full", "--minutes", "-1"], "--minutes must be at least 0"),
        (["--full", "--epsilon", "0.1"], "--balls"),
        (["--full", "--balls", "linf:8"], "8/255"),
        (["--full", "--balls", "l2:1", "--record"], "linf:"),
        (["--full", "--transfer-from", "nowhere"], "nowhere is not a bundle"),
        (["--full", "--images", "0", "--data-dir", "/nowhere", "--balls", "l7:1"], "is no ball"),
        (["--gradients", "torch"], "holdfast evaluate"),
        (["--precision", "bfloat16"], "--gradients torch"),
    ],
)
def test_bad_options_are_refused(exported, capsys, flags, said):
    assert main([str(exported), *flags]) == 2
    assert said in complained(capsys)


def test_a_missing_library_is_named_before_anything_is_attacked(exported, short, recorder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    assert main([str(exported), "--full", "--images", "4"]) == 2
    assert "holdfast[eval]" in complained(capsys)
    assert recorder.asked == []


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = printed(capsys)
    for word in ("--full", "--balls", "--transfer-from", "runs/digits --full", "exit status", "sanity check", "detectors"):
        assert word in text
    assert "gates" not in text
