import json
from pathlib import Path

import pytest

from holdfast.evaluation.report import read_report, render, write_report
from holdfast.evaluation.report.migrations import migrated
from holdfast.evaluation.report.results import Report
from holdfast.evaluation.report.words import ball
from holdfast.files import sha256_file
from tests.holdfast.bundle.tiny import write_bundle
from tests.holdfast.evaluation.report.made_up import Page, measured, threat

SHIPPED = Path(__file__).parents[4] / "bundles/cifar10-small"


def as_version_1(report: Report) -> dict:
    plain = json.loads(report.model_dump_json())
    for old, new in (("gates", "sanity_checks"), ("alarms", "detectors"), ("circumstances", "provenance")):
        plain[old] = plain.pop(new)
    for later in ("validity", "classes", "remeasured", "aimed", "rankings", "sets", "hardened", "shifts"):
        del plain[later]
    for detector in plain["alarms"]:
        del detector["roc"], detector["auroc_ignoring"], detector["auroc_aiming"]
    for one in plain["selective"]:
        del one["attacker"], one["images"]
    for suite in plain["threats"]:
        del suite["wrong_images"]
    return plain | {"report_version": 1}


def test_a_report_of_version_1_is_read_as_it_was(report, tmp_path, capsys):
    bundle = write_bundle(tmp_path / "bundle")
    write_report(bundle, report)
    path = bundle / "report/report.json"
    manifest = (bundle / "manifest.json").read_text()
    before = sha256_file(path)
    path.write_text(json.dumps(as_version_1(report)))
    (bundle / "manifest.json").write_text(manifest.replace(before, sha256_file(path)))
    read = read_report(bundle)
    unchanged = ("threats", "curves", "sanity_checks", "reliability", "provenance", "subject", "clean", "examples")
    assert all(getattr(read, name) == getattr(report, name) for name in unchanged)
    assert read.hardened is None
    assert read.validity == read.classes == read.aimed == read.rankings == read.sets == ()  # not measured then
    assert [(one.name, one.attacker, one.images) for one in read.selective] == [
        ("clean", "nobody", 1000),
        ("L-inf 8/255", "ignores it", 40),
    ]
    assert capsys.readouterr() == ("", "")


def as_version_4(report: Report) -> dict:
    plain = json.loads(report.model_dump_json())
    del plain["hardened"], plain["shifts"]
    for part in (*plain["threats"], *plain["aimed"]):
        del part["wrong_images"]
    for one in plain["aimed"]:
        del one["beyond"]
    return plain | {"report_version": 4}


@pytest.mark.parametrize(("survivors", "beyond"), [(20, 0), (9, 0), (8, 1), (3, 6)])
def test_a_report_of_version_4_says_no_less_than_its_suites_found(report, survivors, beyond):
    (aimed,) = report.aimed
    suite = threat("linf", 8 / 255, "bank known", ()).model_copy(update={"robust": measured(survivors)})
    other = threat("linf", 16 / 255, "bank known", ()).model_copy(update={"robust": measured(0)})
    old = as_version_4(report.model_copy(update={"threats": (suite, other)}))
    (read,) = Report.model_validate_json(json.dumps(migrated(old))).aimed
    assert read.beyond == beyond
    assert read.wrong == measured(aimed.wrong.successes + beyond)
    assert read.answered == measured(aimed.answered.successes + beyond)
    assert read.stopped == aimed.stopped


def test_what_is_no_report_comes_back_as_it_is():
    for other in ([], None, {}, {"report_version": 17}, {"report_version": 6}):
        assert migrated(other) == other


def test_the_shipped_report_has_its_page():
    report = read_report(SHIPPED)
    assert len(report.sanity_checks) == 12
    assert report.passed
    assert [one.attacker for one in report.selective] == ["nobody", *["aims at it"] * 4]
    suites = {ball(one.norm, one.epsilon): one.robust.trials - one.robust.successes for one in report.threats[:4]}
    for one in report.aimed:  # of as many images no less than the suites found
        assert one.wrong.successes >= suites[one.threat] or one.wrong.trials < report.attacked_images
    assert [one.condition for one in report.hardened.accuracies] == ["clean", *map(str, report.balls)]
    assert report.hardened.accuracies[0].hardened == report.clean
    assert all(detector.roc for detector in report.detectors)
    assert report.provenance.served_on == "cpu"  # of before there was a choice
    page = Page(render(report))
    assert all(check.name in page.text for check in report.sanity_checks)
    assert all(detector.name in page.text for detector in report.detectors)
