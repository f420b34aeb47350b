"""Sessions in simulated channels, and pictures of them under augmentations."""

from pathlib import Path

import numpy as np
import pytest

from holdfast import data
from holdfast.data import DataError
from holdfast.data.speech.__main__ import main
from holdfast.data.speech.bank import SessionBank, make_bank
from holdfast.data.speech.channels import Channel, Profile, RoomResponse, equalised, noise, with_noise
from holdfast.data.speech.listing import list_voices
from tests.holdfast.data.speech.voices import put_voices
from tests.holdfast.model.speech.sounds import voice


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put_voices(tmp_path_factory.mktemp("voices"), speakers=2, recordings=4)


def test_a_bank_is_the_same_again_and_after_it_was_kept(voices: Path, tmp_path: Path) -> None:
    made = make_bank(list_voices(voices), sessions=5, profiles=3, seed=4, quiet=True)
    assert made.pictures.shape == (10, 3, 2, 64, 64)
    assert made.labels.tolist() == [0] * 5 + [1] * 5
    again = make_bank(list_voices(voices), sessions=5, profiles=3, seed=4, quiet=True)
    np.testing.assert_array_equal(again.pictures, made.pictures)
    made.save(tmp_path / "bank.npz")
    kept = SessionBank.load(tmp_path / "bank.npz")
    np.testing.assert_array_equal(kept.pictures, made.pictures)
    assert kept.class_names == made.class_names == ("speaker0", "speaker1")
    flat = [made.pictures[s, p, g] for s in range(10) for p in range(3) for g in range(2)]
    assert len({picture.tobytes() for picture in flat}) == len(flat)


def test_a_bank_is_a_set_whose_sessions_stay_whole_and_in_order(voices: Path, tmp_path: Path) -> None:
    assert main([str(voices), str(tmp_path / "bank.npz"), "--sessions", "5", "--profiles", "2"]) == 0
    bank = SessionBank.load(tmp_path / "bank.npz")
    splits = data.load("sessions", directory=tmp_path / "bank.npz", size=64, calibration=2)
    assert [len(part) // 4 for part in (splits.train, splits.calibration, splits.test)] == [6, 2, 2]
    seen = []
    for part in (splits.train, splits.calibration, splits.test):
        for start in range(0, len(part), 4):
            _, session, _ = part.sources[start].split("/")
            seen.append(int(session))
            np.testing.assert_array_equal(
                part.images[start : start + 4, :, :, 0], bank.pictures[int(session)].reshape(4, 64, 64)
            )
            assert set(part.labels[start : start + 4]) == {bank.labels[int(session)]}
    assert sorted(seen) == list(range(10))


def test_what_is_no_bank_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.npz").write_bytes(b"not an archive")
    for name in ("other.npz", "missing.npz"):
        with pytest.raises(DataError, match=name):
            SessionBank.load(tmp_path / name)
    with pytest.raises(DataError, match="at least 2"):
        make_bank(list_voices(put_voices(tmp_path / "few", recordings=1)), sessions=1, quiet=True)


def test_noise_is_as_loud_as_it_is_said_to_be() -> None:
    random = np.random.default_rng(0)
    samples = voice(2.0)
    others = [voice(0.7, pitch=pitch, seed=1) for pitch in (90, 120, 180, 230)]
    for kind in ("white", "pink", "hum", "babble"):
        added = with_noise(samples, noise(kind, len(samples), random, others), 5.0) - samples
        found = 10 * np.log10(np.mean(np.square(samples)) / np.mean(np.square(added)))
        assert found == pytest.approx(5.0, abs=0.01)


def test_a_room_is_as_its_response_says_and_a_gain_as_its_decibels() -> None:
    samples = voice(1.0)
    room = RoomResponse.drawn(np.random.default_rng(3))
    expected = np.convolve(samples.astype(np.float64), room.response)[: len(samples)]
    np.testing.assert_allclose(room.apply(samples), expected, atol=1e-5)
    tone = np.sin(2 * np.pi * 200 * np.arange(8_000) / 8_000).astype(np.float32)
    np.testing.assert_allclose(equalised(tone, (6, 0, -6)), tone * 10 ** (6 / 20), atol=2e-3)
    np.testing.assert_allclose(equalised(samples, (0, 0, 0)), samples, atol=1e-6)


def test_both_segments_of_a_recording_are_in_one_channel() -> None:
    channel = Channel.drawn(np.random.default_rng(5))
    np.testing.assert_array_equal(channel.apply(voice(1.0)), channel.apply(voice(1.0)))
    profile = Profile.drawn(np.random.default_rng(6))
    first, second = (profile.apply(voice(1.0), np.random.default_rng(0), []) for _ in range(2))
    np.testing.assert_array_equal(first, second)
