"""The whole reproduction at a size of seconds: trained, measured, judged, and not done twice."""

import json
from dataclasses import replace

import pytest

from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.objectives import SelfAdaptation
from reproduce.command import run_reproduction
from reproduce.self_adaptive.pipeline import run
from reproduce.self_adaptive.scales import CI, LOOKS

TINY = replace(
    CI,
    name="tiny",
    encoder=ResNetConfig(4, 1, 8),
    steps=LOOKS,
    rates=(0.4,),
    adaptation=SelfAdaptation(momentum=0.5, start=0.3),
    trades=replace(CI.trades, steps=1),
    trades_steps=2,
    label_free_steps=2,
    k=5,
    ks=(1, 5),
    attacked=20,
)


def call(out, *arguments) -> int:
    return run_reproduction(
        "self_adaptive", "for tests", {"tiny": TINY}, run, ["--scale", "tiny", "--out", str(out), *arguments]
    )


@pytest.mark.slow
def test_it_is_trained_in_slices_and_shown_each_time(tmp_path, capsys) -> None:
    assert call(tmp_path, "--minutes", "0.00001") == 75
    assert "Not tried yet: noise of 40 %" in capsys.readouterr().out
    assert call(tmp_path) == 0
    shown = capsys.readouterr().out
    assert "Not tried yet" not in shown
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["not tried"] == []
    assert {claim["verdict"] for claim in results["claims"]} <= {"holds", "does not hold", "not decided"}
    assert {claim["claim"][:3] for claim in results["claims"]} >= {"(1)", "(2)", "(3)", "(4)", "(5)"}
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"
    figures = (tmp_path / "figures.json").read_bytes()
    assert call(tmp_path) == 0
    assert (tmp_path / "figures.json").read_bytes() == figures
    assert (tmp_path / "adapted-40" / "targets.npz").is_file()
    assert (tmp_path / "adapted-40" / "label_noise.csv").is_file()
