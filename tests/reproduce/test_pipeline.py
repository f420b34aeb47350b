"""The whole table at a tiny scale, interrupted and continued."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from holdfast.attacks.attack import PGDAttack
from holdfast.bundle import Bundle
from holdfast.evaluation.progress import ProgressEstimate
from holdfast.trainer import train
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.state.checkpoint import CheckpointError
from reproduce.kept_results import read
from reproduce.ssat import attacking, cli, pipeline
from reproduce.ssat.pipeline import Pipeline, format_time_left
from reproduce.ssat.results import ATTACKS
from tests.reproduce.tiny import TINY, count, same


def interrupt(monkeypatch: pytest.MonkeyPatch, target: object, name: str, after: int) -> None:
    real, calls = getattr(target, name), []

    def called(*arguments, **options):
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(target, name, called)


def measured(out: Path) -> object:
    """What must not depend on interruptions: all but times and places."""
    kept = json.loads((out / "results.json").read_text())
    for row in kept["rows"]:
        del row["config"]["out"], row["training_seconds"]
    return kept


@pytest.mark.slow
def test_the_whole_way_interrupted_twice_is_the_whole_way(hasty, splits, tmp_path, monkeypatch, quiet) -> None:
    whole = Pipeline(TINY, tmp_path / "whole", splits, "python -m reproduce.ssat", quiet)
    result = whole.run()

    # The files a person looks at.
    with Image.open(tmp_path / "whole" / "curve.png") as picture:
        assert picture.width > 1000
    table = (tmp_path / "whole" / "table.md").read_text()
    assert all(run.title in table for run in result.runs)
    said = quiet.export_text()
    assert "7 of 7: DeACL (not in the paper)" in said
    for run in result.runs:
        manifest = Bundle.open(run.directory).manifest
        assert manifest.index.exemplars == 200
        assert (manifest.vote.k, manifest.vote.weighting) == (5, "uniform")
        row = result.rows[run.name]
        assert manifest.accuracy.robust == pytest.approx(row.under("ladder", TINY.balls[1]).robust.value)
        # (b) knows what (a) found, and what was found in the smaller ball.
        for ball in TINY.balls:
            a, b = (read(row.under(attack, ball).held) for attack in ATTACKS)
            assert (b <= a).all()
        small, large = (read(row.under("ladder", ball).held) for ball in TINY.balls)
        assert (large <= small).all()
        assert row.under("ladder", TINY.balls[0]).right == row.under("pgd-knn", TINY.balls[1]).right

    # The same again: nothing is trained, exported, indexed or attacked.
    calls = [count(monkeypatch, train, "take_step"), count(monkeypatch, pipeline, "complete")]
    calls += [count(monkeypatch, attacking, "evaluate"), count(monkeypatch, attacking, "served")]
    again = whole.run()
    assert not any(calls)
    assert again.verdicts == result.verdicts

    # Interrupted in the middle of a row's training, then in the middle of an attack.
    broken = Pipeline(TINY, tmp_path / "broken", splits, "python -m reproduce.ssat", quiet)
    with monkeypatch.context() as patch:
        interrupt(patch, train, "take_step", after=17)
        with pytest.raises(KeyboardInterrupt):
            broken.run()
    with monkeypatch.context() as patch:
        interrupt(patch, PGDAttack, "__call__", after=5)
        with pytest.raises(KeyboardInterrupt):
            broken.run()
    broken.run()
    assert measured(tmp_path / "broken") == measured(tmp_path / "whole")
    for run in result.runs:
        assert same(run.directory, tmp_path / "broken" / run.name)

    # Other images are another question; the answers to the old one stay.
    finished = len(calls[1])
    other = replace(whole, scale=replace(TINY, images=10)).run()
    assert other.attacked_images == 10
    assert len(calls[1]) == finished

    # Another training is not overwritten.
    wider = replace(whole, scale=replace(TINY, encoder=ResNetConfig(6, 1, 8)))
    with pytest.raises(CheckpointError, match=r"name another --out.*\n.*\n.*encoder.width: 4 there, 6 now"):
        wider.run()


@pytest.mark.slow
def test_every_row_is_served_by_its_own_encoder(splits, tmp_path, quiet) -> None:
    result = Pipeline(TINY, tmp_path, splits, "python -m reproduce.ssat", quiet).run()
    encoders = {Bundle.open(run.directory).manifest.files["encoder.onnx"] for run in result.runs}
    assert len(encoders) == len(result.runs)


def test_refusals_are_told_and_not_thrown(tmp_path, capsys) -> None:
    assert cli.main(["--data-dir", str(tmp_path)]) == 2
    assert "cifar-10" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["--images", "0"])


@pytest.mark.parametrize(
    ("left", "spent", "seconds", "expected"),
    [
        ({"a": 30.0, "b": 50.0}, 0, 0, "about 80 minutes left"),  # as expected
        ({"a": 30.0, "b": 50.0}, 10, 1200, "about 160 minutes left"),  # twice as slow as expected
        ({"a": 0.2}, 0, 0, "less than a minute left"),
    ],
)
def test_what_is_left_is_told_at_the_pace_so_far(left, spent, seconds, expected) -> None:
    now = [0.0]
    estimate = ProgressEstimate({"done": 0.0, **left}, clock=lambda: now[0])
    now[0] = seconds
    if spent:
        estimate.spend("done", spent, 0.0)
    assert format_time_left(estimate) == expected
