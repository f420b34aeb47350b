import runpy
import sys

import pytest

from holdfast.bundle.reader import Bundle
from holdfast.evaluation.report import read_report, render, write_report
from holdfast.evaluation.report.cli import main
from tests.holdfast.bundle.tiny import write_bundle
from tests.holdfast.evaluation.report.made_up import EMPTY, Page, example, full_report


@pytest.fixture
def tiny(tmp_path):
    return write_bundle(tmp_path / "bundle")


def test_the_page_is_written_again_from_the_numbers(tiny, tmp_path, capsys):
    small = full_report(**(EMPTY | {"examples": (example(0, ("cat", "dog")),)}))
    html = render(small)
    write_report(tiny, small)
    data = (tiny / "report/report.json").read_bytes()
    (tiny / "report/index.html").unlink()
    assert main([str(tiny)]) == 0
    assert "2 sanity checks, passed" in " ".join(capsys.readouterr().out.split())
    assert (tiny / "report/index.html").read_text(encoding="utf-8") == html
    assert (tiny / "report/report.json").read_bytes() == data
    manifest = (tiny / "manifest.json").read_bytes()
    assert main([str(tiny), "--out", str(tmp_path / "copy.html")]) == 0
    assert (tmp_path / "copy.html").read_text(encoding="utf-8") == html
    assert (tiny / "manifest.json").read_bytes() == manifest


def test_a_report_can_travel_without_the_images_of_its_data_set(tiny, report, tmp_path):
    write_report(tiny, report)
    whole = (tiny / "report/index.html").read_text()
    pictures = [e.clean_png for e in report.examples] + [e.attacked_png for e in report.examples]
    pictures += [picture for e in report.examples for picture in e.neighbour_pngs.values()]
    assert all(picture in whole for picture in pictures)
    assert "not in this report" not in whole
    assert main([str(tiny), "--without-pictures", "--out", str(tmp_path / "sent.html")]) == 0
    assert read_report(tiny) == report
    assert main([str(tiny), "--without-pictures"]) == 0
    Bundle.open(tiny)
    for page in (tmp_path / "sent.html", tiny / "report/index.html", tiny / "report/report.json"):
        written = page.read_text()
        assert not any(picture in written for picture in pictures)
        assert all(e.difference_png in written for e in report.examples)
    shown = Page((tiny / "report/index.html").read_text())
    assert shown.text.count("not in this report") == 2 * len(report.examples)


def test_a_bundle_without_a_report_is_refused(tiny, capsys):
    assert main([str(tiny)]) == 2
    assert "report/report.json" in capsys.readouterr().err


def test_help_teaches(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["report", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("holdfast.evaluation.report", run_name="__main__")
    assert ended.value.code == 0
    assert "--out report.html" in capsys.readouterr().out
