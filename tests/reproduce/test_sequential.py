"""The reproduction of sequential training: which runs go on from which, what is claimed, and the whole of it in small."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from holdfast.data.streams import StreamConfig
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.objectives import SequentialConfig, SupervisedConfig
from holdfast.trainer.presets import PRESETS
from reproduce.sequential import cli
from reproduce.sequential.claims import OrderScores, findings_of
from reproduce.sequential.plan import (
    ANCHOR,
    BOTH,
    JOINT,
    PLAIN,
    REPLAY,
    SUPERVISED,
    SUPERVISED_JOINT,
    StreamPlan,
)
from reproduce.sequential.scales import CI, SCALES, SMALL
from reproduce.verdicts import Word


def shares(*rates, images=2000):
    """Scores of arms on the same images, each right on the first so many."""
    return [(np.arange(images) < rate * images).astype(float) for rate in rates]


def verdicts(order, **arms):
    return {finding.claim.partition(": ")[2]: finding.word for finding in findings_of(OrderScores(order, arms), "kNN")}


def test_about_as_good_is_neither_worse_nor_better_by_more_than_the_margin() -> None:
    joint, near, worse = shares(0.80, 0.799, 0.70)
    about = "plain is at most 1 point worse than joint"
    assert verdicts("instance", joint=joint, plain=near)[about] == Word.HOLDS
    assert verdicts("instance", joint=joint, plain=worse)[about] == Word.FAILS
    assert verdicts("instance", joint=worse, plain=joint)["plain is at most 1 point better than joint"] == Word.FAILS
    few, others = shares(0.80, 0.79, images=100)
    assert verdicts("instance", joint=few, plain=np.roll(others, 20))[about] == Word.OPEN


def test_half_of_a_gap_is_half_of_it() -> None:
    joint, plain, most, little = shares(0.90, 0.70, 0.85, 0.72)
    found = verdicts("domain", joint=joint, plain=plain, replay=most, anchor=little)
    assert found["plain is worse than joint"] == Word.HOLDS
    assert found["replay closes at least half of the gap"] == Word.HOLDS
    assert found["MAS closes at least half of the gap"] == Word.FAILS


def test_the_control_has_to_lose_more_than_twice_as_much() -> None:
    joint, plain, better, worse, little = shares(0.90, 0.80, 0.99, 0.60, 0.89)
    arms = {JOINT: joint, PLAIN: plain, SUPERVISED_JOINT: better}
    claim = "the supervised control loses more than twice what the label-free one loses"
    assert verdicts("random-class", **arms, supervised=worse)[claim] == Word.HOLDS
    assert verdicts("random-class", **arms, supervised=little)[claim] == Word.FAILS


@pytest.mark.parametrize("order", SMALL.orders)
def test_all_arms_take_the_same_steps_and_label_free_ones_share_their_first_chunk(order, tmp_path) -> None:
    plan = StreamPlan(SMALL, order, tmp_path, tmp_path)
    chunks = plan.stream.chunks
    chains = {method: plan.chain(method, 1.0 if method in {ANCHOR, BOTH} else 0.0) for method in (PLAIN, REPLAY, ANCHOR, BOTH)}
    assert len({chain[0].config for chain in chains.values()}) == 1
    assert len({arm.config.out for chain in chains.values() for arm in chain}) == 4 * (chunks - 1) + 1
    for arms in (*chains.values(), plan.chain(SUPERVISED)):
        assert [arm.config.start_from for arm in arms[1:]] == [arm.config.out for arm in arms[:-1]]
        assert all(later.config.stages[:-1] == earlier.config.stages for earlier, later in pairwise(arms))
        last = arms[-1].config
        assert [stage.chunk for stage in last.stages] == list(range(chunks))
        assert sum(stage.steps for stage in last.stages) == plan.joint().config.stages[0].steps
    replaying = chains[BOTH][-1].config.stages[-1].objective
    assert (replaying.replay, replaying.anchor) == (0.1, 1.0)


@pytest.mark.slow
def test_the_whole_of_it_in_small_and_again_without_training(tmp_path: Path, monkeypatch) -> None:
    tiny = replace(CI, name="tiny", steps=2, batch_size=16, encoder=ResNetConfig(4, 1, 8), methods=("replay", ANCHOR))
    tiny = replace(tiny, supervised=SupervisedConfig(), orders=("distant-class", "instance"))
    monkeypatch.setitem(SCALES, "tiny", tiny)
    call = ["--scale", "tiny", "--out", str(tmp_path)]
    assert cli.main([*call, "--minutes", "0.00001"]) == 75
    assert cli.main(call) == 0
    page, record = (tmp_path / "streams.md").read_text(), json.loads((tmp_path / "streams.json").read_text())
    assert {"distant-class", "instance"} == record["accuracies"].keys()
    assert all(claim["verdict"] in set(Word) and claim["claim"] in page for claim in record["claims"])
    with Image.open(tmp_path / "streams.png") as picture:
        assert picture.width > 500

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("all is measured already")

    monkeypatch.setattr("reproduce.arms.train", refuse)
    monkeypatch.setattr("reproduce.sequential.measuring.embed", refuse)
    assert cli.main(call) == 0
    assert (tmp_path / "streams.md").read_text() == page


def test_the_scale_of_ci_is_what_the_preset_trains() -> None:
    chain = StreamPlan(CI, "distant-class", Path("runs"), None).chain(REPLAY)
    preset = PRESETS["digits-stream"][1]
    assert preset.stages == chain[-1].config.stages
    assert (preset.encoder, preset.stream) == (chain[-1].config.encoder, StreamConfig("distant-class", 5))
    assert isinstance(preset.stages[0].objective, SequentialConfig)
