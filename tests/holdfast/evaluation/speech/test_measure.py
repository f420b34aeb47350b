"""A bundle that listens, measured on its set by the command."""

import json
from pathlib import Path

import pytest

from holdfast.bundle.manifest import DataRecord
from holdfast.evaluation.cli import main as evaluate
from holdfast.evaluation.speech.__main__ import main
from holdfast.evaluation.speech.conditions import CONDITIONS
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
    assert set(found["flips"]) == {"babble 20 dB", "babble 10 dB", "babble 5 dB"}
    assert all(0 <= rate <= 1 for rate in found["equal_error_rates"].values())
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
    assert "holdfast.evaluation.speech" in capsys.readouterr().err
