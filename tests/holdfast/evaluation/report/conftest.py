import pytest

from holdfast.evaluation.report import render
from tests.holdfast.evaluation.report.made_up import full_report


@pytest.fixture(scope="session")
def report():
    return full_report()


@pytest.fixture(scope="session")
def html(report):
    return render(report)
