"""The whole reproduction in small, and its verdicts on figures that are known."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from holdfast.console import Console
from holdfast.data import DataError, LabelledImages
from holdfast.evaluation.speech.conditions import CLEAN
from holdfast.evaluation.speech.trials import TrialScores, TrialSize
from holdfast.interrupts import TimeUpError
from holdfast.trainer.encoders import ResNetConfig, build_encoder
from reproduce.augmentation_adversarial.claims import findings
from reproduce.augmentation_adversarial.cli import run
from reproduce.augmentation_adversarial.measuring import IDENTIFIED, NOISY, VERIFIED, SpeechArmFigures
from reproduce.augmentation_adversarial.photographs import (
    ADVERSARIAL,
    AUGMENTED,
    by_other_cameras,
    chosen,
    measure_flips,
    photograph_findings,
    photographs_markdown,
)
from reproduce.augmentation_adversarial.probe import Probed, probe
from reproduce.augmentation_adversarial.scales import CI
from reproduce.augmentation_adversarial.voices import make_voices
from reproduce.command import Invocation
from reproduce.verdicts import Word
from tests.holdfast.data.speech.voices import put_digits, put_voices

TINY = replace(
    CI,
    sessions=5,
    steps=2,
    batch=4,
    encoder=ResNetConfig(width=4, dim=8, image_size=64),
    trials=TrialSize(items=2, channels=2, pairs=20),
    probe_steps=2,
)


def call(folder: Path, deadline: float = math.inf) -> Invocation:
    return Invocation(TINY, folder / "out", folder / "data", deadline, "python -m reproduce", Console(quiet=True))


def test_all_arms_are_trained_measured_and_judged_and_nothing_is_done_twice(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fsdd"):
        run(replace(call(tmp_path), data_dir=None))
    put_digits(tmp_path / "data" / "fsdd")
    put_voices(tmp_path / "data" / "voices", speakers=2, recordings=3)
    with pytest.raises(TimeUpError):
        run(call(tmp_path, deadline=0.0))
    run(call(tmp_path))
    out = tmp_path / "out"
    result = json.loads((out / "results.json").read_text())
    assert set(result["seconds"]) == {"adversarial-0", "augmented-0", "none-0"}
    assert len(result["findings"]) == 6
    assert "augmentation, adversary" in (out / "table.md").read_text()
    assert (out / "figure.png").stat().st_size > 10_000
    measured = (out / "measured.json").stat().st_mtime_ns
    shutil.rmtree(out / "adversarial-0")  # what is measured needs its checkpoint no more
    (out / "figure.png").unlink()
    run(call(tmp_path))
    assert not (out / "adversarial-0").exists()
    assert (out / "figure.png").stat().st_size > 10_000
    assert (out / "measured.json").stat().st_mtime_ns == measured
    assert json.loads((out / "results.json").read_text()) == result


def figures(error: float, told: float, right: float, seed: int) -> SpeechArmFigures:
    """Of six speakers alike, whose trials are wrong at a rate, whose probe is right at another."""
    random = np.random.default_rng(seed)
    speakers = np.repeat(np.arange(6), 100)
    pairs = np.stack([speakers, (speakers + 1 + np.arange(600) % 5) % 6], 1)
    wrong = np.tile(np.arange(100) // 5 % 20 < 20 * error, 6)
    targets, others = (np.where(wrong, *scored).astype(np.float32) for scored in ((0.0, 1.0), (1.0, 0.0)))
    scores = TrialScores(targets, speakers, others, pairs)
    probed = Probed(random.uniform(size=2000) < told, np.repeat(np.arange(40), 50))
    identified = np.arange(300) < 300 * right
    return SpeechArmFigures(dict.fromkeys(VERIFIED, scores), dict.fromkeys(IDENTIFIED, identified), probed, 1.0)


def test_verdicts_follow_the_figures_and_survive_being_kept() -> None:
    arms = {}
    for seed in (0, 1):
        arms |= {
            f"none-{seed}": figures(0.4 + 0.05 * seed, 0.95, 0.9, seed),
            f"augmented-{seed}": figures(0.3 + 0.05 * seed, 0.85, 0.95, seed),
            f"adversarial-{seed}": figures(0.3 + 0.05 * seed, 0.6, 0.95, seed),
        }
    kept = {name: SpeechArmFigures.from_json(json.loads(json.dumps(each.to_json()))) for name, each in arms.items()}
    assert {name: each.to_json() for name, each in kept.items()} == {name: each.to_json() for name, each in arms.items()}
    words = [finding.word for finding in findings(kept, (0, 1), 6)]
    probed, *verified, clean, _, _ = words
    assert probed is Word.HOLDS
    assert verified == [Word.HOLDS, Word.HOLDS, Word.OPEN, Word.OPEN]
    assert clean is Word.HOLDS
    assert arms["none-0"].scores[CLEAN].equal_error_rate == pytest.approx(0.4)
    assert arms["none-0"].scores[NOISY].least_cost <= 1


def test_a_probe_finds_an_augmentation_that_is_there_and_none_that_is_not() -> None:
    random = np.random.default_rng(0)
    profiles = random.normal(size=(16, 8))

    def bank(sessions: int, strength: float) -> np.ndarray:
        content = random.normal(size=(sessions, 16, 2, 8))
        found = content + strength * profiles[None, :, None, :]
        return (found / np.linalg.norm(found, axis=3, keepdims=True)).astype(np.float32).reshape(-1, 8)

    known, unknown = (probe(bank(60, strength), bank(20, strength), steps=150) for strength in (6.0, 0.0))
    assert known.right.mean() > 0.8
    assert abs(unknown.right.mean() - 0.5) < 0.07
    assert len(unknown.right) == len(unknown.sessions) == 20 * 20 * 2


def test_without_espeak_a_person_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="espeak-ng"):
        make_voices(tmp_path / "voices", 4)


def test_photographs_are_asked_about_by_other_cameras() -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    labelled = LabelledImages(images, np.arange(40) % 2, ("a", "b"), [str(i) for i in range(40)])
    taken = by_other_cameras(images, 1)
    np.testing.assert_array_equal(taken, by_other_cameras(images, 1))
    assert (taken != by_other_cameras(images, 2)).any()
    assert taken.dtype == np.uint8
    encoder = build_encoder(ResNetConfig(width=4, dim=8)).eval()
    asked = chosen(labelled, 10)
    found = measure_flips(encoder, labelled, asked)
    assert (len(found["right"]), len(found["flips"])) == (10, 30)
    steady = found | {"flips": "0" * 30}
    (finding,) = photograph_findings({AUGMENTED: found | {"flips": "1" * 30}, ADVERSARIAL: steady})
    assert finding.word is Word.HOLDS
    assert photograph_findings({ADVERSARIAL: steady}) == []
    assert "0.0 [0.0, 11.4]" in photographs_markdown({ADVERSARIAL: steady})
