"""An index of speakers: enrolled from folders, calibrated for strangers, and never attacked."""

from pathlib import Path

import numpy as np
import pytest

from holdfast.bundle.reader import Bundle, read_manifest
from holdfast.data.recorded import load_verified
from holdfast.index_build.cli import main
from tests.holdfast.data.speech.voices import put_voices
from tests.server.speech.listening import write_listening_bundle


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_listening_bundle(tmp_path_factory.mktemp("listening") / "old")


def test_another_set_of_speakers_makes_another_bundle_that_can_be_read_again(listening: Path, tmp_path: Path) -> None:
    put_voices(tmp_path / "voices", seconds=1.5)
    arguments = [str(listening), "--data", str(tmp_path / "voices"), "--out", str(tmp_path / "new"), "--calibration", "0.25"]
    assert main(arguments) == 0
    manifest = read_manifest(tmp_path / "new")
    assert manifest.input.kind == "speech"
    assert manifest.class_names == ("speaker0", "speaker1", "speaker2")
    assert manifest.calibration is not None
    assert manifest.calibration.unknown_above is not None
    assert manifest.index is not None
    assert manifest.index.data is not None
    assert manifest.index.data.calibration == 6  # recordings, each of two windows
    bundle, splits = Bundle.open(tmp_path / "new"), load_verified(manifest)
    assert len(bundle.calibration_set) == len(splits.calibration) == 12
    np.testing.assert_allclose(bundle.calibration_set.embeddings, bundle.encoder.embed(splits.calibration.images), atol=1e-5)


def test_what_cannot_be_is_said(listening: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_voices(tmp_path / "voices")
    arguments = [str(listening), "--data", str(tmp_path / "voices"), "--out", str(tmp_path / "new")]
    assert main([*arguments, "--harden", "0.25"]) == 2
    assert "no attacker of sound" in capsys.readouterr().err
    assert main([str(listening), "--data", "digits", "--out", str(tmp_path / "new")]) == 2
    assert "takes recordings" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
