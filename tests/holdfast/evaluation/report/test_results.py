import pytest
from pydantic import ValidationError

from holdfast.evaluation.report import results
from holdfast.evaluation.report.results import Report
from tests.holdfast.evaluation.report.made_up import full_report


def test_json_gives_the_same_report_back(report):
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_what_json_cannot_say_is_refused_where_it_is_made():
    with pytest.raises(ValidationError):
        results.SelectivePoint(coverage=float("nan"), error=0)


def test_nothing_checked_is_nothing_passed(report):
    assert report.passed
    assert not report.model_copy(update={"sanity_checks": ()}).passed
    assert not full_report(checks=(True, False)).passed
