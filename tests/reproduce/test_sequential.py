"""The reproduction of sequential training: which runs go on from which, what is claimed, and the whole of it in small."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from holdfast.data.streams import StreamConfig
from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.objectives import ImageBatch, SequentialConfig, SupervisedConfig
from holdfast.trainer.presets import PRESETS
from reproduce.kept_results import written
from reproduce.sequential import cli
from reproduce.sequential.claims import OrderScores, findings_of
from reproduce.sequential.flatness import MovedScores, moved_table
from reproduce.sequential.moving import moved
from reproduce.sequential.plan import (
    ANCHOR,
    BOTH,
    DISTILLED,
    JOINT,
    MIXED,
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


def test_weights_are_moved_by_a_share_of_each_filters_length_and_batchnorm_follows() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(4, 1, 8)).eval()
    generator = torch.Generator().manual_seed(1)
    images = ImageBatch.whole(
        torch.randint(0, 256, (20, 32, 32, 3), dtype=torch.uint8, generator=generator), torch.zeros(20, dtype=torch.int64)
    )
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    still, there, elsewhere = (moved(encoder, radius, seed, images) for radius, seed in ((0.0, 0), (0.5, 0), (0.5, 1)))
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    for (name, weight), other in zip(encoder.named_parameters(), there.parameters(), strict=True):
        assert torch.equal(weight, dict(still.named_parameters())[name])
        apart = (other - weight).flatten(1).norm(dim=1) if weight.ndim > 1 else (other - weight).abs()
        expected = 0.5 * weight.flatten(1).norm(dim=1) if weight.ndim > 1 else torch.zeros_like(weight)
        torch.testing.assert_close(apart, expected)
        assert weight.ndim == 1 or not torch.equal(other, dict(elsewhere.named_parameters())[name])
    with torch.no_grad():
        # The last layer is a BatchNorm, whose statistics are of these images: its outputs have mean 0.
        torch.testing.assert_close(there(images.pixels()).mean(0), torch.zeros(8), atol=0.05, rtol=0)


def test_the_flatter_one_loses_less_where_weights_are_moved() -> None:
    steady, control, fallen = ([written(bits > 0)] for bits in shares(0.80, 0.90, 0.60))
    kept = {"0": steady, "0.5": steady}
    moves = MovedScores.of("distant-class", {PLAIN: kept, SUPERVISED: {"0": control, "0.5": [*control, *fallen]}})
    (finding,) = moves.findings()
    assert finding.word == Word.HOLDS
    assert finding.difference.estimate == pytest.approx(0.15)
    assert "90.0 | 75.0" in moved_table([moves])
    (other,) = MovedScores.of("distant-class", {PLAIN: {"0": control, "0.5": fallen}, SUPERVISED: kept}).findings()
    assert other.word == Word.FAILS


def test_neighbours_of_replay_are_options_of_the_wrapper(tmp_path) -> None:
    plan = StreamPlan(CI, "distant-class", tmp_path, None)
    objectives = {method: plan.chain(method)[-1].config.stages[-1].objective for method in (MIXED, DISTILLED)}
    assert (objectives[MIXED].mix, objectives[MIXED].distil, objectives[MIXED].replay) == (256, 0, 0)
    assert (objectives[DISTILLED].mix, objectives[DISTILLED].distil, objectives[DISTILLED].replay) == (0, 1, 0)


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
    tiny = replace(
        CI,
        name="tiny",
        steps=2,
        batch_size=16,
        encoder=ResNetConfig(4, 1, 8),
        methods=("replay", ANCHOR, MIXED, DISTILLED),
        radii=(0.0, 0.5),
    )
    tiny = replace(tiny, supervised=SupervisedConfig(), orders=("distant-class", "instance"))
    monkeypatch.setitem(SCALES, "tiny", tiny)
    call = ["--scale", "tiny", "--out", str(tmp_path)]
    assert cli.main([*call, "--minutes", "0.00001"]) == 75
    assert cli.main(call) == 0
    page, record = (tmp_path / "streams.md").read_text(), json.loads((tmp_path / "streams.json").read_text())
    assert {"distant-class", "instance"} == record["accuracies"].keys()
    assert {"joint", "plain", "supervised", "supervised-joint"} == record["flatness"]["distant-class"].keys()
    claims = record["claims"] + record["claims about flatness"]
    assert all(claim["verdict"] in set(Word) and claim["claim"] in page for claim in claims)
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
