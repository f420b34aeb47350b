"""The paper's table: the whole way at a tiny scale, and each judgement by its properties."""

import io
import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from holdfast import data
from holdfast.attacks.attack import PGDAttack
from holdfast.attacks.losses import Guided, Margin, Targeted
from holdfast.attacks.search.suite import AttackSuite
from holdfast.bundle import Bundle
from holdfast.bundle.threat_model import ThreatModel
from holdfast.data import Splits
from holdfast.evaluation.progress import ProgressEstimate
from holdfast.files import write_atomically
from holdfast.trainer import train
from holdfast.trainer.config import Stage
from holdfast.trainer.encoders import AmdimConfig, ResNetConfig
from holdfast.trainer.export import bundle as write_bundle
from holdfast.trainer.objectives import (
    AmdimObjectiveConfig,
    DeaclConfig,
    SsatConfig,
    SupervisedAdversarialConfig,
    SupervisedConfig,
)
from holdfast.trainer.presets import CIFAR10_PAPER
from holdfast.trainer.state import checkpoint
from holdfast.trainer.state.checkpoint import CheckpointError
from reproduce.ssat import campaign, cli, labels, measuring
from reproduce.ssat.campaign import Campaign, told_left
from reproduce.ssat.claims import LITTLE, MORE, Claim, Row, Word, claims_of, judge, together, under, verdicts_of
from reproduce.ssat.curve import draw
from reproduce.ssat.differences import Counted, Difference, difference
from reproduce.ssat.handover import hand_over, is_finished
from reproduce.ssat.making import is_made, train_row
from reproduce.ssat.measured import ATTACKS, Attacked, Clean, read, written
from reproduce.ssat.measuring import Measuring
from reproduce.ssat.runs import runs_of
from reproduce.ssat.scales import BALLS, PAPER, SCALES, SMALL, Scale, ladder
from reproduce.ssat.tables import Result, markdown, sentences

TINY = Scale(
    name="tiny",
    told="for tests",
    encoder=ResNetConfig(4, 1, 8),
    amdim=Stage("amdim", AmdimObjectiveConfig(), steps=4, batch_size=32),
    supervised=Stage("supervised", SupervisedConfig(), steps=12, batch_size=64),
    adversarial=Stage("adversarial", SupervisedAdversarialConfig(steps=1), steps=3, batch_size=32),
    guided=Stage(
        "ssat",
        SsatConfig(arm="guided", epsilon=0.3, steps=2, step_size=0.2, refresh=2, guides=10, k=1),
        steps=4,
        batch_size=32,
        learning_rate=1e-3,
        schedule="constant",
    ),
    label_free=Stage("ssat", SsatConfig(steps=1), steps=2, batch_size=32),
    deacl=Stage("deacl", DeaclConfig(steps=1), steps=2, batch_size=32),
    checkpoints=(2, 4),
    data="digits",
    k=5,
    balls=(ThreatModel("linf", 16 / 255), ThreatModel("linf", 48 / 255)),
    images=20,
    papers_attack=AttackSuite((PGDAttack(Guided(10), steps=2),), 16),
    ladder=AttackSuite((PGDAttack(Margin(0.05), 2), PGDAttack(Margin(0.2), 2), PGDAttack(Targeted(0.05, 1), 2)), 16),
)


@pytest.fixture(scope="module")
def splits() -> Splits:
    digits = data.load("digits")
    return Splits(digits.train.take(range(200)), digits.calibration.take(range(30)), digits.test.take(range(40)))


@pytest.fixture(scope="module")
def exported_once() -> dict[str, object]:
    return {}


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch, exported_once: dict[str, object]) -> None:
    """Tracing a graph takes seconds: the first row's graphs stand in for those of every other row."""
    real = write_bundle.export

    def export(encoder, writer, contract, images, *, half):
        if not exported_once:
            parity = real(encoder, writer, contract, images, half=half)
            files = {name: (writer.directory / name).read_bytes() for name in ("encoder.onnx", "gradient.onnx")}
            exported_once.update(parity=parity, files=files)
        for name, content in exported_once["files"].items():
            writer.add(name, lambda path, content=content: path.write_bytes(content))
        return exported_once["parity"]

    monkeypatch.setattr(write_bundle, "export", export)


@pytest.fixture
def quiet() -> Console:
    return Console(file=io.StringIO(), record=True, width=160)


def tensors(directory: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(directory).tensors


def same(one: Path, other: Path) -> bool:
    first, second = tensors(one), tensors(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def interrupt(monkeypatch: pytest.MonkeyPatch, target: object, name: str, after: int) -> None:
    real, calls = getattr(target, name), []

    def called(*arguments, **options):
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(target, name, called)


def count(monkeypatch: pytest.MonkeyPatch, target: object, name: str) -> list[object]:
    real, calls = getattr(target, name), []

    def called(*arguments, **options):
        calls.append(1)
        return real(*arguments, **options)

    monkeypatch.setattr(target, name, called)
    return calls


def measured(out: Path) -> object:
    """What must not depend on interruptions: all but times and places."""
    kept = json.loads((out / "results.json").read_text())
    for row in kept["rows"]:
        del row["config"]["out"], row["training_seconds"]
    return kept


def test_the_whole_way_interrupted_twice_is_the_whole_way(hasty, splits, tmp_path, monkeypatch, quiet) -> None:
    whole = Campaign(TINY, tmp_path / "whole", splits, "python -m reproduce.ssat", quiet)
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
    calls = [count(monkeypatch, train, "learn"), count(monkeypatch, campaign, "complete")]
    calls += [count(monkeypatch, measuring, "evaluate"), count(monkeypatch, measuring, "served")]
    again = whole.run()
    assert not any(calls)
    assert again.verdicts == result.verdicts

    # Interrupted in the middle of a row's training, then in the middle of an attack.
    broken = Campaign(TINY, tmp_path / "broken", splits, "python -m reproduce.ssat", quiet)
    with monkeypatch.context() as patch:
        interrupt(patch, train, "learn", after=17)
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
    result = Campaign(TINY, tmp_path, splits, "python -m reproduce.ssat", quiet).run()
    encoders = {Bundle.open(run.directory).manifest.files["encoder.onnx"] for run in result.runs}
    assert len(encoders) == len(result.runs)


def trained(name: str, out: Path, splits: Splits, scale: Scale = TINY, source: Path | None = None) -> Path:
    run = next(run for run in runs_of(scale, out) if run.name == name)
    train_row(run, splits, Console(quiet=True), source=source)
    return run.directory


def test_a_checkpoint_of_the_fine_tuning_is_that_of_one_run(splits, tmp_path, monkeypatch) -> None:
    amdim = trained("amdim", tmp_path, splits)
    first = trained("ssat-guided-2", tmp_path, splits, source=amdim)
    second = trained("ssat-guided-4", tmp_path, splits, source=first)
    straight = trained("ssat-guided-4", tmp_path / "straight", splits, source=amdim)
    assert same(second, straight)
    assert not torch.equal(tensors(first)["encoder.to7.0.weight"], tensors(second)["encoder.to7.0.weight"])
    logs = [(directory / "log.csv").read_text().splitlines() for directory in (first, second, straight)]
    untimed = partial(re.sub, r"(?<=\d),\d+\.\d\d,", ",", count=1)
    assert untimed(logs[1][-1]) == untimed(logs[2][-1])
    assert logs[1][:-1] == logs[0]


def test_only_the_beginning_of_a_run_is_handed_over(splits, tmp_path) -> None:
    amdim = trained("amdim", tmp_path, splits)
    runs = {run.name: run.config for run in runs_of(TINY, tmp_path / "to")}
    hand_over(amdim, runs["ssat-label-free"], splits.sha256)
    assert not is_finished(runs["ssat-label-free"], splits.sha256)
    hand_over(amdim, runs["amdim"], splits.sha256)
    assert is_finished(runs["amdim"], splits.sha256)
    assert same(amdim, runs["amdim"].out)

    def refused(words: str, config, sha256: str = splits.sha256, source: Path = amdim) -> None:
        target = replace(config, out=tmp_path / "refused")
        with pytest.raises(CheckpointError, match=words):
            hand_over(source, target, sha256)
        assert not target.out.exists()

    stage = TINY.amdim
    for other in (
        replace(stage, learning_rate=1.0),
        replace(stage, steps=8),  # under one cycle, 4 steps of 8 are not 4 of 4
        replace(stage, schedule="constant"),
    ):
        refused("is not how", replace(runs["amdim"], stages=(other,)))
    refused("is not how", runs["supervised"])
    refused("data.sha256", runs["amdim"], sha256="other")
    refused("encoder.width", replace(runs["amdim"], encoder=ResNetConfig(6, 1, 8)))
    first = trained("ssat-guided-2", tmp_path, splits, source=amdim)
    refused("is not how", replace(runs["amdim"], stages=(TINY.amdim,)), source=first)
    slower = replace(runs["ssat-guided-4"].stages[1], learning_rate=1e-4)
    refused("is not how", replace(runs["ssat-guided-4"], stages=(TINY.amdim, slower)), source=first)
    longer = replace(runs["ssat-label-free"], stages=(*runs["ssat-label-free"].stages, TINY.deacl))
    refused("not finished", longer, source=runs["ssat-label-free"].out)


def test_a_run_of_before_there_were_schedules_can_be_taken(splits, tmp_path, monkeypatch) -> None:
    """Such a checkpoint names no schedule; and another vote only describes another bundle."""
    plain = checkpoint.plain

    def plain_then(config):
        values = plain(config)
        for stage in values["stages"]:
            del stage["schedule"]
        return values

    run = next(run for run in runs_of(TINY, tmp_path / "old") if run.name == "amdim")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "plain", plain_then)
        train.train(replace(run.config, weighting="exponential", k=3), splits)
    new = next(run for run in runs_of(TINY, tmp_path / "new") if run.name == "amdim")
    hand_over(run.directory, new.config, splits.sha256)
    assert is_finished(new.config, splits.sha256)
    steps = count(monkeypatch, train, "learn")
    train_row(new, splits, Console(quiet=True), source=run.directory)
    assert not steps
    assert not is_made(new, splits)  # trained, but neither exported nor indexed


def test_a_scale_refuses_checkpoints_that_would_not_be_of_one_run() -> None:
    for wrong in ({"checkpoints": (4,)}, {"checkpoints": (2, 3, 4)}, {"checkpoints": (2, 2)}, {"checkpoints": (4, 2)}):
        with pytest.raises(ValueError, match="checkpoints"):
            replace(TINY, **wrong)
    with pytest.raises(ValueError, match="constant"):
        replace(TINY, guided=replace(TINY.guided, schedule="one-cycle"))
    with pytest.raises(ValueError, match="guided"):
        replace(TINY, guided=replace(TINY.guided, objective=SsatConfig()))


def test_the_scales_are_what_they_are_said_to_be() -> None:
    for scale in SCALES.values():
        runs = runs_of(scale, Path("out"))
        assert len(runs) == scale.rows
        assert {run.name for run in runs} == set(scale.minutes)
        assert len({run.config.encoder for run in runs}) == 1
        assert {(run.config.k, run.config.weighting, run.config.threads) for run in runs} == {(75, "uniform", 1)}
        assert all(run.config.epsilon == 4 / 255 for run in runs)
        names = [run.name for run in runs]
        assert all(run.after is None or names.index(run.after) < names.index(run.name) for run in runs)
        assert f"--scale {scale.name}" in cli.teaching()
    assert 100 < SMALL.expected_minutes < 140
    # The recipe as released: PAPER is the preset, but for the schedule of the fine-tuning.
    amdim, ssat = CIFAR10_PAPER.stages
    assert PAPER.encoder == CIFAR10_PAPER.encoder
    assert PAPER.amdim == amdim
    assert PAPER.guided == replace(ssat, schedule="constant")
    # A finished run of this one exists, and is taken by --amdim.
    assert SMALL.encoder == AmdimConfig(width=48, n_rkhs=128, depth=1, activation="silu")
    assert SMALL.amdim == Stage("amdim", AmdimObjectiveConfig(), steps=2800, batch_size=256, learning_rate=1e-3)
    assert [str(step) for step in ladder().attacks][-9:] == [f"targeted tau 0.05 class {rank}" for rank in range(1, 10)]


def test_refusals_are_told_and_not_thrown(tmp_path, capsys) -> None:
    assert cli.main(["--data-dir", str(tmp_path)]) == 1
    assert "cifar-10" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["--images", "0"])


@pytest.mark.parametrize(
    ("left", "spent", "seconds", "told"),
    [
        ({"a": 30.0, "b": 50.0}, 0, 0, "about 80 minutes left"),  # as expected
        ({"a": 30.0, "b": 50.0}, 10, 1200, "about 160 minutes left"),  # twice as slow as expected
        ({"a": 0.2}, 0, 0, "less than a minute left"),
    ],
)
def test_what_is_left_is_told_at_the_pace_so_far(left, spent, seconds, told) -> None:
    now = [0.0]
    outlook = ProgressEstimate({"done": 0.0, **left}, clock=lambda: now[0])
    now[0] = seconds
    if spent:
        outlook.spend("done", spent, 0.0)
    assert told_left(outlook) == told


# -- Differences --------------------------------------------------------------------------------------------------------


def counted(success, trial=None) -> Counted:
    success = np.asarray(success, dtype=bool)
    return Counted(success, np.ones_like(success) if trial is None else np.asarray(trial, dtype=bool))


@st.composite
def pairs(draw, largest: int = 60) -> tuple[Counted, Counted]:
    n = draw(st.integers(1, largest))
    bits = st.lists(st.booleans(), min_size=n, max_size=n)
    sides = []
    for _ in range(2):
        trial = np.array(draw(bits))
        sides.append(counted(trial & np.array(draw(bits)), trial))
    return sides[0], sides[1]


@given(pairs())
def test_a_difference_lies_in_its_interval_and_turns_with_its_sides(pair) -> None:
    one, other = pair
    there, back = difference(one, other), difference(other, one)
    assert -1 <= there.low <= there.high <= 1
    if one.rate.trials and other.rate.trials:
        assert there.low <= there.estimate <= there.high
        assert there.low < there.high
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


@given(pairs(), st.integers(0, 2**32 - 1))
def test_the_order_of_images_does_not_matter_but_the_pairing_does(pair, seed) -> None:
    order = np.random.default_rng(seed).permutation(len(pair[0].trial))
    shuffled = [Counted(side.success[order], side.trial[order]) for side in pair]
    a, b = difference(*pair), difference(*shuffled)
    assert (a.low, a.high) == pytest.approx((b.low, b.high))


def test_agreeing_images_make_the_interval_narrow() -> None:
    bits = np.arange(300) % 2 == 0
    paired, unpaired = difference(counted(bits), counted(bits)), difference(counted(bits), counted(np.arange(300) % 4 < 2))
    crossed = difference(counted(bits), counted(~bits))
    assert paired.high < 0.02
    assert paired.high < unpaired.high < crossed.high
    # Without correlation it is Newcombe's: the root of the sum of the squares of Wilson's.
    low, high = counted(bits).rate.interval
    assert unpaired.high == pytest.approx(np.hypot(high - 0.5, 0.5 - low), rel=0.02)


def test_few_images_decide_nothing() -> None:
    none = counted([False] * 10)
    assert judge(difference(none, none), MORE) == Word.OPEN
    assert judge(difference(counted([True, False] * 5), counted([True, False] * 5)), MORE) == Word.OPEN
    untried = counted([False] * 10, [False] * 10)
    assert judge(difference(untried, none), MORE) == Word.OPEN
    assert np.isnan(difference(untried, none).estimate)


def sampled(random: np.random.Generator, n: int, cells) -> tuple[Counted, Counted]:
    """Rows drawn image by image: each cell is (chance, right of one, held of one, right of other, held of other)."""
    chances = np.array([cell[0] for cell in cells])
    drawn = np.array([cell[1:] for cell in cells], dtype=bool)[random.choice(len(cells), n, p=chances)].T
    return Counted(drawn[1] & drawn[0], drawn[0]), Counted(drawn[3] & drawn[2], drawn[2])


CELLS = {
    "alike": [
        (0.1, 0, 0, 0, 0),
        (0.4, 1, 1, 1, 1),
        (0.3, 1, 0, 1, 0),
        (0.1, 1, 1, 1, 0),
        (0.05, 0, 0, 1, 1),
        (0.05, 1, 0, 0, 0),
    ],
    "apart": [(0.1, 0, 0, 1, 1), (0.3, 1, 1, 1, 0), (0.1, 1, 0, 1, 1), (0.3, 1, 1, 0, 0), (0.2, 1, 0, 1, 0)],
    "one near zero": [(0.2, 0, 0, 0, 0), (0.5, 1, 0, 1, 0), (0.28, 1, 1, 1, 0), (0.02, 1, 0, 1, 1)],
}


@pytest.mark.parametrize("cells", CELLS.values(), ids=CELLS)
def test_the_interval_holds_the_truth_19_times_of_20(cells) -> None:
    random = np.random.default_rng(0)

    def dsr(place: int) -> float:
        return sum(c[0] for c in cells if c[place] and c[place + 1]) / sum(c[0] for c in cells if c[place])

    truth, found = dsr(1) - dsr(3), [difference(*sampled(random, 200, cells)) for _ in range(1500)]
    covered = np.mean([d.low <= truth <= d.high for d in found])
    assert 0.93 <= covered <= 0.985


@pytest.mark.parametrize("cells", CELLS.values(), ids=CELLS)
def test_the_interval_is_about_that_of_the_paired_bootstrap(cells) -> None:
    random = np.random.default_rng(1)
    one, other = sampled(random, 1000, cells)
    rows = random.integers(0, 1000, (4000, 1000))
    estimates = one.success[rows].sum(1) / one.trial[rows].sum(1) - other.success[rows].sum(1) / other.trial[rows].sum(1)
    found = difference(one, other)
    assert (found.low, found.high) == pytest.approx(np.quantile(estimates, [0.025, 0.975]), abs=0.006)


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="some of the trials"):
        counted([True, False], [False, True])
    with pytest.raises(ValueError, match="cannot be paired"):
        difference(counted([True]), counted([True, False]))


# -- Verdicts -----------------------------------------------------------------------------------------------------------


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1), st.floats(-0.2, 0.2))
def test_a_verdict_is_where_the_interval_lies(estimate, below, above, margin) -> None:
    found = Difference(estimate, estimate - below, estimate + above)
    word = judge(found, margin)
    assert (word == Word.HOLDS) == (found.low > margin)
    assert (word == Word.FAILS) == (found.high < margin)
    # A verdict turns with the claim: what is ahead by more than m is not ahead by less.
    mirrored = judge(Difference(-estimate, -found.high, -found.low), -margin)
    assert {Word.HOLDS: Word.FAILS, Word.FAILS: Word.HOLDS, Word.OPEN: Word.OPEN}[word] == mirrored


@given(st.lists(st.sampled_from(Word), max_size=5))
def test_one_ball_can_refute_and_all_must_agree(words) -> None:
    word = together(words)
    assert (word == Word.FAILS) == (Word.FAILS in words)
    assert (word == Word.HOLDS) == (bool(words) and all(w == Word.HOLDS for w in words))


PUBLISHED = {
    "supervised": (0.92, 0.19, 0.19),
    "supervised-adversarial": (0.701, 0.915, 0.775),
    "amdim": (0.846, 0.519, 0.278),
    "ssat-guided-50": (0.834, 0.629, 0.390),
    "ssat-guided-100": (0.80, 0.74, 0.55),
    "ssat-guided-200": (0.77, 0.82, 0.66),
    "ssat-guided-400": (0.75, 0.86, 0.71),
    "ssat-label-free": (0.76, 0.80, 0.60),
    "deacl": (0.72, 0.83, 0.68),
}


def imagined(images: int, under_b: float) -> Result:
    """The published figures under (a), each image for itself; under (b) that share of what holds under (a)."""
    random = np.random.default_rng(3)
    difficulty = random.random(images)
    rows = {}
    for name, (clean, *dsrs) in PUBLISHED.items():
        right = difficulty < clean
        attacked = []
        for ball, dsr in zip(BALLS, dsrs, strict=True):
            held = right & (random.random(images) < dsr)
            for attack, kept in zip(ATTACKS, (held, held & (random.random(images) < under_b)), strict=True):
                bits = written(right), written(kept)
                attacked.append(Attacked(attack, "steps", ball.norm, ball.epsilon, *bits, images, {}))
        rows[name] = Row(Clean(written(right)), tuple(attacked))
    runs = runs_of(SMALL, Path("out"))
    return Result(SMALL, runs, rows, dict.fromkeys(rows, 60.0), verdicts_of(claims_of(SMALL.checkpoints), rows, BALLS))


def test_the_published_figures_bear_out_the_papers_claims_and_an_attack_that_breaks_all_refutes_them() -> None:
    result = imagined(5000, under_b=0.0)
    assert set(under(result.verdicts, "pgd-knn").values()) == {Word.HOLDS}
    broken = under(result.verdicts, "ladder")
    assert all((word == Word.HOLDS) == (claim.measure == "clean" or claim.margin < 0) for claim, word in broken.items())
    said = sentences(result)
    assert said[0].startswith("Under (a) the paper's PGD-kNN. Holds (8 of the paper's 8): AMDIM's DSR exceeds")
    assert said[1].startswith("Under (b) the adaptive ladder. Holds (4 of the paper's 8): SSAT's first checkpoint costs less")
    assert "Does not hold (4 of the paper's 8): AMDIM's DSR exceeds" in said[1]
    assert said[2].count("does not hold under (b)") == 5
    text = markdown(result)
    assert text.count("**does not hold**") == 2 * 5
    assert all(sentence in text for sentence in said)
    assert "| SSAT guided, 50 steps | 83." in text
    for block in text.split("\n\n"):  # every table is rectangular
        widths = {line.count("|") for line in block.splitlines() if line.startswith("|")}
        assert len(widths) <= 1


def test_a_dozen_images_decide_little_and_it_is_said() -> None:
    result = imagined(12, under_b=0.5)
    words = [verdict.word for verdict in result.verdicts]
    assert words.count(Word.OPEN) > len(words) * 0.7
    assert "Not decided at this sample size" in sentences(result)[0]


def test_a_clean_claim_is_the_same_under_every_attack() -> None:
    result = imagined(500, under_b=0.3)
    claim: Claim
    for claim in claims_of(SMALL.checkpoints):
        differences = {v.difference for v in result.verdicts if v.claim == claim}
        assert (len(differences) == 1) == (claim.measure == "clean")
    assert next(c for c in claims_of((1, 2)) if c.margin == LITTLE).measure == "clean"


@given(st.lists(st.booleans(), max_size=50))
def test_bits_come_back(bits) -> None:
    assert read(written(np.array(bits, dtype=bool))).tolist() == bits


# -- The picture --------------------------------------------------------------------------------------------------------


def test_the_same_result_gives_the_same_picture_and_another_another(tmp_path) -> None:
    pictures = []
    for number, broken in enumerate((0.4, 0.4, 0.1)):
        path = tmp_path / f"{number}.png"
        draw(path, imagined(300, under_b=broken))
        pictures.append(path.read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


def overlap(one, other) -> bool:
    return min(one[2], other[2]) > max(one[0], other[0]) and min(one[3], other[3]) > max(one[1], other[1])


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=6, unique=True))
def test_words_cover_neither_each_other_nor_points_where_there_is_room(cells) -> None:
    points = [(100.0 + 20 * x, 100.0 + 20 * y) for x, y in cells]
    boxes = labels.place(points, [(60.0, 12.0)] * len(points), (0, 0, 1000, 1000), 14)
    for number, box in enumerate(boxes):
        assert (round(box[2] - box[0]), round(box[3] - box[1])) == (60, 12)
        assert min(box[:2]) >= 0
        assert max(box[2:]) <= 1000
        assert not any(overlap(box, other) for other in boxes[:number])
        assert not any(overlap(box, (x - 1, y - 1, x + 1, y + 1)) for x, y in points)


def test_a_lone_point_has_its_words_at_its_upper_right_unless_something_is_there() -> None:
    frame, ahead = (0, 0, 200, 100), 50 + 10 * np.sqrt(0.5)
    ((left, bottom, _, _),) = labels.place([(50.0, 50.0)], [(30.0, 10.0)], frame, 10)
    assert (left, bottom) == pytest.approx((ahead, ahead))
    ((left, _, _, top),) = labels.place([(50.0, 50.0)], [(30.0, 10.0)], frame, 10, [(55, 55, 60, 60)])
    assert (left, top) == pytest.approx((ahead, 100 - ahead))
    ((_, _, right, _),) = labels.place([(190.0, 50.0)], [(30.0, 10.0)], frame, 10)
    assert right < 190


def test_measuring_asks_anew_where_the_answer_could_be_another(hasty, splits, tmp_path, quiet) -> None:
    run = runs_of(TINY, tmp_path)[0]
    trained_row = train_row(run, splits, quiet)
    campaign.complete(run.config, splits, trained_row, "x", quiet)
    assert is_made(run, splits)
    one = Measuring(run, splits, TINY, tmp_path)
    assert not one.done
    assert one.clean().right == Measuring(run, splits, TINY, tmp_path).clean().right
    for other in (
        replace(TINY, images=7),
        replace(TINY, ladder=AttackSuite((PGDAttack(Margin(0.05), 3),), 16)),
        replace(TINY, balls=TINY.balls[:1]),
    ):
        assert Measuring(run, splits, other, tmp_path).cache.directory != one.cache.directory
    manifest = run.directory / "manifest.json"
    write_atomically(manifest, manifest.read_bytes().replace(b'"k": 5', b'"k": 6'))
    assert not is_made(run, splits)
    assert Measuring(run, splits, TINY, tmp_path).cache.directory != one.cache.directory
