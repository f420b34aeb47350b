"""A stream from one end to the other: serve, keep a sample, go on learning from it, index, compare, swap, serve."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from holdfast.bundle import Bundle
from holdfast.cli import load_torch_encoder
from holdfast.data import load
from holdfast.data.streams.arrivals import load_arrivals
from holdfast.evaluation.handover import main as hand_on
from holdfast.index_build.cli import main as index
from holdfast.protos.holdfast.v1 import holdfast_pb2
from holdfast.trainer import cli
from holdfast.trainer.continuing import default_out, inner_of
from holdfast.trainer.objectives import (
    ClustersConfig,
    SelfAdaptiveConfig,
    SequentialConfig,
    SimclrConfig,
    SsatConfig,
    SupervisedConfig,
    TradesConfig,
)
from holdfast.trainer.presets import PRESETS
from tests.server.running import LoopThread, start, wait_for
from tests.server.tiny import raw

LONG = 120.0
"""Seconds to wait for a server at most."""

QUICK = ("--no-estimate-cost", "--encoder.width", "8", "--encoder.dim", "32")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few steps with its index, as users make one, good enough to pass a server's checks."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    flags = ("--stages.0.steps", "60", "--stages.0.batch-size", "64", "--out", str(out))
    assert cli.main(["digits-supervised", *QUICK, *flags]) == 0
    assert index([str(out)]) == 0
    return out


def came_in(number: int) -> np.ndarray:
    """Digits that nobody has seen: those of the training part moved by two pixels."""
    return np.roll(load("digits").train.images[:number], 2, axis=1)


def write(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03}.png")
    return folder


def test_serve_keep_go_on_index_swap_serve(finished: Path, tmp_path: Path) -> None:
    spool, versions, after = tmp_path / "spool", tmp_path / "versions", tmp_path / "digits-2"
    assert hand_on([str(finished), str(finished), "--to", str(versions), "--as", "v1", "--images", "2", "--steps", "1"]) == 0
    loop = LoopThread()
    try:
        with ExitStack() as stack:
            settings = {"bundle_versions": versions, "watch_interval": 0.05, "keep_share": 1.0, "spool": spool}
            served = start(stack, loop, None, **settings)
            images = came_in(40)
            request = holdfast_pb2.ClassifyRequest(images=[raw(image) for image in images])
            before = served.stub.Classify(request)
            assert len(before.results) == 40
            sampled = sum(not result.answer.abstain for result in before.results)
            wait_for(lambda: served.metric("holdfast_spool_images_total") == sampled, LONG)
            kept = served.metric("holdfast_spool_images_total", outcome="kept")
            assert kept == len(list(spool.iterdir())) >= 10

            go_on = ["--continue-with", str(spool), "--out", str(after), "--stages.1.steps", "3", "--no-estimate-cost"]
            assert cli.main([str(finished), *go_on]) == 0
            assert index([str(after)]) == 0
            compared = [str(finished), str(after), "--images", "4", "--steps", "1"]
            handed = ["--to", str(versions), "--as", "v2", "--least-agreement", "0", "--most-loss", "1"]
            assert hand_on([*compared, *handed]) == 0
            model = holdfast_pb2.GetModelInfoRequest()
            wait_for(lambda: served.stub.GetModelInfo(model).encoder_sha256 == sha256_of(after), LONG)
            assert len(served.stub.Classify(request).results) == 40
    finally:
        loop.close()
    record = Bundle.open(versions / "v2").manifest.training.continued
    assert record.parent_sha256 == sha256_of(finished)
    assert record.images + record.held_out + record.repeated + record.outliers == kept
    assert record.sha256 == load_arrivals(after).sha256()
    assert sha256_of(after) != sha256_of(finished)
    assert not load_torch_encoder(after).training


def sha256_of(directory: Path) -> str:
    return Bundle.open(directory).manifest.files["encoder.onnx"]


@pytest.mark.slow
def test_a_run_that_went_on_is_resumed_and_goes_on_once_more(finished: Path, tmp_path: Path) -> None:
    spool, second = write(tmp_path / "spool", came_in(30)), tmp_path / "digits-2"
    flags = ["--continue-with", str(spool), "--out", str(second), "--no-estimate-cost", "--stages.1.steps", "4"]
    assert cli.main([str(finished), *flags, "--minutes", "0.00001"]) == 75
    before = load_arrivals(second)
    for file in spool.iterdir():  # the spool goes on changing, and the run does not
        file.unlink()
    assert cli.main([str(finished), *flags, "--resume"]) == 0
    assert load_arrivals(second).sha256() == before.sha256()
    assert index([str(second)]) == 0
    more = write(tmp_path / "more", np.roll(came_in(60)[30:], 3, axis=2))
    third = ["--continue-with", str(more), "--out", str(tmp_path / "digits-3"), "--no-estimate-cost", "--outlier-p", "0"]
    assert cli.main([str(second), *third, "--stages.2.steps", "2"]) == 0
    both = load_arrivals(tmp_path / "digits-3")
    assert both.sizes[0] == before.sizes[0]
    assert np.array_equal(both.images[: len(before)], before.images)


def test_what_cannot_be_gone_on_with_is_refused_and_nothing_is_made(finished: Path, tmp_path: Path, capsys) -> None:
    empty, one = tmp_path / "empty", write(tmp_path / "one", came_in(1))
    empty.mkdir()
    text = write(tmp_path / "text", came_in(3))
    (text / "readme.txt").write_text("no image")
    held_out = write(tmp_path / "held-out", load("digits").test.images[:9])
    out = tmp_path / "out"
    for folder in (tmp_path / "nowhere", empty, one, text, held_out):
        assert cli.main([str(finished), "--continue-with", str(folder), "--out", str(out)]) == 2
    assert cli.main([str(finished), "--continue-with", str(one), "--out", str(finished)]) == 2
    assert cli.main([str(tmp_path / "no-run"), "--continue-with", str(one)]) == 2
    assert cli.main(["--continue-with", str(one)]) == 2
    assert not out.exists()
    assert capsys.readouterr().err.count("\n") >= 8


def test_what_is_learned_without_labels_follows_what_was_learned_with_them() -> None:
    attacked = TradesConfig(epsilon=3 / 255, steps=5, step_size=1 / 255)
    clusters = inner_of(attacked)
    assert isinstance(clusters, ClustersConfig)
    assert (clusters.threat, clusters.steps, clusters.step_size) == (attacked.threat, 5, attacked.step_size)
    assert clusters.augment == attacked.augment
    views = SupervisedConfig()
    assert inner_of(views) == SimclrConfig(augment=views.augment)
    assert inner_of(SsatConfig(arm="guided", epsilon=0.1)) == SsatConfig(epsilon=0.1)
    assert inner_of(SequentialConfig(clusters)) == clusters
    for _, preset in PRESETS.values():
        SequentialConfig(inner_of(preset.stages[-1].objective))
    assert inner_of(replace(SelfAdaptiveConfig()))


def test_runs_are_counted() -> None:
    assert default_out(Path("/runs/digits")) == Path("/runs/digits-2")
    assert default_out(Path("/runs/digits-2")) == Path("/runs/digits-3")
    assert default_out(Path("/runs/cifar10-small")) == Path("/runs/cifar10-small-2")
