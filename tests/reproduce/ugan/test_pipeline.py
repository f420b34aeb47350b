"""The whole reproduction on tiny trainings: in slices, and again without training anything."""

import json
from dataclasses import replace

import pytest

from holdfast.trainer.encoders import ResNetConfig
from reproduce.ugan import pipeline
from reproduce.ugan.scales import CI, SCALES

TINY = replace(CI, encoder=ResNetConfig(width=4, blocks=1, dim=8), steps=2, average=0.5, curve=(), made=20)


@pytest.mark.slow
def test_all_arms_are_trained_measured_and_judged_in_slices(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(SCALES, "ci", TINY)
    arguments = ["--scale", "ci", "--out", str(tmp_path / "out")]
    statuses = [pipeline.main([*arguments, "--minutes", "0.05"]) for _ in range(2)]
    assert set(statuses) <= {0, 75}
    assert pipeline.main(arguments) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_bytes())
    assert results["not trained"] == []
    assert {claim["claim"][:3] for claim in results["claims"]} == {"(1)", "(2)", "(3)", "(4)"}
    assert all((tmp_path / "out" / name).is_file() for name in ("table.md", "curve.png", "sheet.png"))
    before = (tmp_path / "out" / "figures.json").read_bytes()
    capsys.readouterr()
    assert pipeline.main(arguments) == 0
    assert (tmp_path / "out" / "figures.json").read_bytes() == before
    assert "claims" in capsys.readouterr().out
