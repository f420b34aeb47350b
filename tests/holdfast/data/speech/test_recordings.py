"""Recordings as labelled sets: who speaks, which part, and what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from holdfast import data
from holdfast.data import DataError, open_labelled
from holdfast.data.sets import input_kind
from holdfast.model.preprocess import InputContract
from holdfast.model.speech.recordings import decode_recording
from tests.holdfast.data.speech.voices import put_digits, put_voices
from tests.holdfast.model.speech.sounds import as_wav, voice

SPEECH = InputContract(kind="speech", height=64, width=64)


def test_a_folder_of_speakers_is_split_and_its_pictures_are_those_of_requests(tmp_path: Path) -> None:
    splits = data.load("voices", directory=put_voices(tmp_path), size=64, calibration=6)
    assert splits.class_names == ("speaker0", "speaker1", "speaker2")
    assert [len(part) for part in (splits.train, splits.calibration, splits.test)] == [18, 6, 6]
    assert np.bincount(splits.calibration.labels).tolist() == [2, 2, 2]
    for part in (splits.train, splits.calibration, splits.test):
        for image, label, source in zip(part.images, part.labels, part.sources, strict=True):
            assert source.startswith(f"speaker{label}/")
            np.testing.assert_array_equal(image, decode_recording((tmp_path / source).read_bytes())[0])
    assert data.load("voices", directory=tmp_path, size=64, calibration=6).sha256 == splits.sha256


def test_windows_of_one_recording_stay_in_one_part(tmp_path: Path) -> None:
    put_voices(tmp_path, recordings=6, seconds=2.2)
    splits = data.load("voices", directory=tmp_path, size=64, calibration=3)
    parts = [{source.partition("#")[0] for source in part.sources} for part in (splits.train, splits.calibration, splits.test)]
    assert sum(map(len, parts)) == 18
    assert len(set.union(*parts)) == 18
    assert len(splits.train) == 3 * len(parts[0])
    assert splits.drawn_calibration == 3


def test_given_parts_are_kept(tmp_path: Path) -> None:
    put_voices(tmp_path / "train")
    put_voices(tmp_path / "test", recordings=2)
    splits = data.load("voices", directory=tmp_path, size=64, calibration=3)
    assert [len(part) for part in (splits.train, splits.calibration, splits.test)] == [27, 3, 6]


def test_free_spoken_digits_have_their_official_test_part(tmp_path: Path) -> None:
    splits = data.load("fsdd", directory=put_digits(tmp_path / "recordings").parent, size=64, calibration=4)
    assert splits.class_names == ("speaker0", "speaker1")
    assert [len(part) for part in (splits.train, splits.calibration, splits.test)] == [8, 4, 20]
    assert all(int(source[:-4].split("_")[2]) < 5 for source in splits.test.sources)


@pytest.mark.parametrize("name", ["fsdd", "voices", "sessions"])
def test_a_set_of_recordings_needs_its_folder_and_its_size(tmp_path: Path, name: str) -> None:
    assert input_kind(name) == "speech"
    with pytest.raises(DataError, match="--data-dir"):
        data.load(name, size=64)
    with pytest.raises(DataError):
        data.load(name, directory=tmp_path, size=64)
    with pytest.raises(DataError, match="64 x 64"):
        data.load(name, directory=put_voices(tmp_path), size=32)


def test_what_is_no_recording_is_named_and_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    put_voices(tmp_path)
    (tmp_path / "speaker0" / "cut.wav").write_bytes(as_wav(voice(1.0))[:100])
    (tmp_path / "speaker0" / "wide.wav").write_bytes(as_wav(voice(0.2), 96_000))
    (tmp_path / "speaker0" / "notes.txt").write_text("not a recording")
    with pytest.raises(DataError, match=r"(?s)2 of 32 files.*cut.wav.*wide.wav.*--skip-unreadable"):
        data.load("voices", directory=tmp_path, size=64)
    splits = data.load("voices", directory=tmp_path, size=64, skip_unreadable=True)
    assert len(splits.train) + len(splits.calibration) + len(splits.test) == 30


def test_one_speaker_is_too_few(tmp_path: Path) -> None:
    put_voices(tmp_path, speakers=1)
    with pytest.raises(DataError, match="speaker0 alone"):
        data.load("voices", directory=tmp_path, size=64)


def test_an_encoder_gets_what_it_takes(tmp_path: Path) -> None:
    put_voices(tmp_path)
    streamed = open_labelled(tmp_path, SPEECH, calibration=3, quiet=True)
    whole = data.load("voices", directory=tmp_path, size=64, calibration=3)
    read = streamed.train.read(np.arange(len(streamed.train)))
    np.testing.assert_array_equal(read.images, whole.train.images)
    with pytest.raises(DataError, match="takes recordings, and digits is a set of images"):
        open_labelled("digits", SPEECH)
    with pytest.raises(DataError, match="takes images, and fsdd is a set of recordings"):
        open_labelled("fsdd", InputContract(height=64, width=64), directory=tmp_path)
    shutil.rmtree(tmp_path / "speaker1")
    shutil.rmtree(tmp_path / "speaker2")
    with pytest.raises(DataError):
        open_labelled(tmp_path, SPEECH)
