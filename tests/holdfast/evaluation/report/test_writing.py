import pytest

from holdfast.bundle.reader import Bundle, read_manifest
from holdfast.errors import HashMismatchError, MissingFileError, SchemaMismatchError
from holdfast.evaluation.report import read_report, write_report
from holdfast.evaluation.report.results import REPORT_VERSION
from tests.holdfast.bundle.tiny import write_bundle
from tests.holdfast.evaluation.report.made_up import EMPTY, full_report


@pytest.fixture
def tiny(tmp_path):
    return write_bundle(tmp_path / "bundle")


def test_a_bundle_carries_its_report(tiny, report, html):
    before = read_manifest(tiny)
    write_report(tiny, report)
    Bundle.open(tiny)  # every hash of the manifest is right
    after = read_manifest(tiny)
    assert after.files.keys() - before.files.keys() == {"report/report.json", "report/index.html"}
    assert after.model_copy(update={"files": before.files}) == before
    assert read_report(tiny) == report
    assert (tiny / "report/index.html").read_text(encoding="utf-8") == html


def test_a_report_that_is_not_there_or_was_changed_is_refused(tiny, tmp_path):
    with pytest.raises(MissingFileError, match="not a bundle"):
        read_report(tmp_path)
    with pytest.raises(MissingFileError, match="measure the bundle first"):
        read_report(tiny)
    write_report(tiny, full_report(**EMPTY))
    path = tiny / "report/report.json"
    path.write_text(path.read_text(encoding="utf-8").replace("0.", "1."), encoding="utf-8")
    with pytest.raises(HashMismatchError):
        read_report(tiny)


def test_a_report_of_a_later_version_is_refused(tiny):
    write_report(tiny, full_report(**EMPTY).model_copy(update={"report_version": REPORT_VERSION + 1}))
    with pytest.raises(SchemaMismatchError, match="report_version"):
        read_report(tiny)
