"""A bundle that listens, measured on its set by the command."""

import hashlib
import json
import re
from functools import partial
from pathlib import Path

import pytest

from holdfast.bundle.__main__ import main as check
from holdfast.bundle.manifest import DataRecord
from holdfast.bundle.reader import read_manifest
from holdfast.evaluation.cli import listening
from holdfast.evaluation.cli import main as evaluate
from holdfast.evaluation.report.writing import DATA, PAGE
from holdfast.evaluation.speech.__main__ import main
from holdfast.evaluation.speech.conditions import CONDITIONS
from holdfast.evaluation.speech.measure import measure_speakers
from holdfast.evaluation.speech.report import SpeechReport, render_speech
from holdfast.evaluation.speech.trials import TrialSize
from tests.holdfast.bundle import tiny
from tests.holdfast.model.speech.sounds import as_wav
from tests.server.speech.listening import SPEAKERS, said, write_listening_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    data = DataRecord(name="voices", sha256="0" * 64, calibration=3, seed=0)
    return write_listening_bundle(tmp_path / "bundle", data=data)


def put(folder: Path, names: tuple[str, ...] = tuple(SPEAKERS)) -> Path:
    for name, pitch in zip(names, SPEAKERS.values(), strict=False):
        (folder / name).mkdir(parents=True)
        for number in range(10):
            (folder / name / f"{number}.wav").write_bytes(as_wav(said(pitch, 2000 + number)))
    return folder


def test_speakers_are_identified_verified_and_strangers_turned_away(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "voices")
    arguments = [str(bundle), "--data-dir", str(tmp_path / "voices"), "--pairs", "40", "--items", "2"]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["identified"]) == set(found["answered"]) == set(CONDITIONS)
    assert found["identified"]["clean"]["rate"] == 1
    assert found["identified"]["clean"]["recordings"] == 6
    assert found["answered"]["clean"]["rate"] > 0.5
    assert found["let_in"]["rate"] == 0
    assert set(found["flips"]) == set(CONDITIONS) - {"clean", "reverb"}
    for name, (low, high) in found["equal_error_rate_intervals"].items():
        assert 0 <= low <= found["equal_error_rates"][name] <= high <= 1
    assert main(arguments) == 0
    assert "let in though not enrolled: 0.0 %" in capsys.readouterr().out


def test_what_cannot_be_measured_is_said(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(bundle), "--data-dir", str(tmp_path / "nowhere")]) == 2
    assert main([str(bundle), "--data-dir", str(put(tmp_path / "others", ("ann", "bob")))]) == 2
    assert "ann" in capsys.readouterr().err
    looks = tiny.write_bundle(tmp_path / "looks")
    assert main([str(looks), "--data-dir", str(tmp_path / "others")]) == 2
    assert "looks at images" in capsys.readouterr().err
    assert evaluate([str(bundle)]) == 2
    assert "--data-dir" in capsys.readouterr().err
    voices = ["--data-dir", str(put(tmp_path / "voices"))]
    for flags in (
        ["--epsilon", "8/255"],
        ["--credibility"],
        ["--record"],
        ["--full", "--balls", "linf:8/255"],
        ["--steps", "3"],
    ):
        assert evaluate([str(bundle), *voices, *flags]) == 2
        assert "no meaning" in capsys.readouterr().err


def test_a_report_of_speakers_is_left_in_the_bundle(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "measure_speakers", partial(measure_speakers, trials=TrialSize(items=2, pairs=40)))
    assert evaluate([str(bundle), "--full", "--data-dir", str(put(tmp_path / "voices"))]) == 0
    manifest, data = read_manifest(bundle), (bundle / DATA).read_bytes()
    assert manifest.files[DATA] == hashlib.sha256(data).hexdigest()
    assert (manifest.threat_model, manifest.accuracy) == (None, None)
    report = SpeechReport.model_validate_json(data)
    page = (bundle / PAGE).read_text()
    assert render_speech(report) == page
    assert not re.search(r"<script|https?:|@import|url\((?!#)", page)
    assert page.count('<svg class="plot"') == 2
    assert [one.name for one in report.conditions] == list(CONDITIONS)
    clean = report.conditions[0]
    assert clean.identified.value == 1
    for one in report.conditions:
        assert one.wrong.successes <= one.answered.successes
    assert [one.name for one in report.speakers] == sorted(SPEAKERS, key=list(manifest.class_names).index)
    assert sum(one.identified.successes for one in report.speakers) == clean.identified.successes
    assert report.let_in is not None
    assert sum(one.let_in.trials for one in report.speakers if one.let_in) == report.let_in.trials == report.recordings
    for verified in report.verification:
        assert verified.low <= verified.equal_error_rate <= verified.high
        misses = [point.misses for point in verified.points]
        assert misses == sorted(misses)
    assert check(["check", str(bundle)]) == 0  # all hashes are those of the manifest
    capsys.readouterr()
