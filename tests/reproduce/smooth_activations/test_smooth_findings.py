"""What is said of figures of two activations, and that the whole comparison is trained in slices."""

import json
from dataclasses import replace

import numpy as np
import pytest

from holdfast.trainer.encoders import ResNetConfig
from reproduce.command import run_reproduction
from reproduce.kept_results import written
from reproduce.smooth_activations.findings import findings_of, tables, untried
from reproduce.smooth_activations.pipeline import run
from reproduce.smooth_activations.scales import CI
from reproduce.verdicts import Word

TINY = replace(
    CI,
    name="tiny",
    encoder=ResNetConfig(4, 1, 8),
    objective=replace(CI.objective, steps=1),
    steps=2,
    seeds=(0,),
    attacked=8,
    k=5,
)


def figures(robust: float, seed: int) -> dict[str, object]:
    """200 images, of which so many are right under attack; all but a few are right when clean."""
    random = np.random.default_rng(seed)
    bits = {"clean": random.random(200) < 0.97, "robust": random.random(200) < robust, "knn": random.random(200) < 0.97}
    return {name: written(each) for name, each in bits.items()} | {"seconds": 5.0}


def measured(gain: float, seeds: int = 3) -> dict[str, dict[str, object]]:
    return {
        f"{name}-{seed}": figures(0.5 + (gain if name == "silu" else 0.0), 10 * seed)
        for name in ("relu", "silu")
        for seed in range(seeds)
    }


@pytest.mark.parametrize(("gain", "word"), [(0.3, Word.HOLDS), (-0.3, Word.FAILS), (0.0, Word.OPEN)])
def test_more_right_answers_under_attack_decide_the_claim(gain, word):
    found = findings_of(CI, measured(gain))
    assert [each.word for each in found if "under attack" in each.claim] == [word, word]
    # The same draws of clean answers: not a point behind, whatever the attack comes to.
    assert [each.word for each in found if "clean" in each.claim] == [Word.HOLDS] * 2
    assert len(found) == 4


def test_one_training_says_nothing_of_another():
    over, paired, *_ = findings_of(CI, measured(0.4, seeds=1))
    assert (over.word, paired.word) == (Word.OPEN, Word.HOLDS)
    assert over.described()["interval"] == [None, None]


def test_what_is_missing_is_named_and_what_is_there_is_shown():
    some = {name: each for name, each in measured(0.1).items() if name != "silu-2"}
    assert untried(CI, some) == ["SiLU, seed 2"]
    ((_, table),) = tables(CI, some)
    assert [line.split("|")[2].strip() for line in table.splitlines()[2:]] == ["3", "2"]
    assert untried(CI, measured(0.1)) == []
    assert tables(CI, {}) == findings_of(CI, {}) == []


@pytest.mark.slow
def test_it_is_trained_in_slices_and_not_done_twice(tmp_path, capsys):
    def call(*arguments: str) -> int:
        flags = ["--scale", "tiny", "--out", str(tmp_path), *arguments]
        return run_reproduction("smooth_activations", "for tests", {"tiny": TINY}, run, flags)

    assert call("--minutes", "0.00001") == 75
    assert "Not trained yet" in capsys.readouterr().out
    assert call() == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["not trained"] == []
    assert len(results["claims"]) == 4
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"
    before = (tmp_path / "figures.json").read_bytes()
    assert call() == 0
    assert (tmp_path / "figures.json").read_bytes() == before
