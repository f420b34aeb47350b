"""Evaluations whose answers are computed on a GPU, which is stood in for but in the last test."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from holdfast.attacks.adaptive import LOSSES, AdaptiveAttack
from holdfast.attacks.attack import PGDAttack
from holdfast.attacks.losses import Margin
from holdfast.attacks.noise import Noise
from holdfast.bundle.reader import Bundle
from holdfast.bundle.threat_model import ThreatModel
from holdfast.errors import DeviceError, HoldfastError
from holdfast.evaluation import Settings, evaluate, evaluate_fully, recorded_splits
from holdfast.evaluation import suites as plan
from holdfast.evaluation.cli import main
from holdfast.evaluation.context import EvaluationContext
from holdfast.evaluation.quick import JUDGED_AT_ONCE
from holdfast.evaluation.report import read_report, render
from holdfast.evaluation.sanity import measurements as checks
from holdfast.evaluation.suites import Effort, Planned
from holdfast.model.encoder import device
from holdfast.model.encoder.bucketed import BucketedEncoder
from holdfast.model.encoder.device import CPU, Placement, find_gpu
from tests.holdfast.model.encoder.stand_in import NAME, pretend_gpu

QUICK = AdaptiveAttack(losses=LOSSES[1:2], steps=8)
BALLS = (ThreatModel("linf", 32 / 255),)
EFFORT = Effort(steps=3, restarts=1, queries=10, batch_size=8)


@pytest.mark.parametrize("with_torch", [True, False])
def test_it_finds_there_what_it_finds_on_the_cpu(exported, encoder, digits, monkeypatch, with_torch):
    given = {"encoder": encoder if with_torch else None, "attack": QUICK, "limit": 40}
    here = evaluate(exported, digits.test, **given)
    gpu = pretend_gpu(monkeypatch)
    there = evaluate(exported, digits.test, serve_on="cuda", **given)
    assert (here.served_on, there.served_on) == (CPU, Placement("cuda", NAME))
    assert gpu.made[-1]._resources.alone.entries > 0
    np.testing.assert_array_equal(there.outcome.clean_labels, here.outcome.clean_labels)
    np.testing.assert_array_equal(there.outcome.success, here.outcome.success)
    assert here.robust.successes < here.clean.successes
    if with_torch:  # Otherwise candidates, too, go by embeddings, whose last digits are of another batch.
        np.testing.assert_array_equal(there.outcome.adversarial, here.outcome.adversarial)


def test_a_batch_of_the_judge_goes_through_whole(exported, digits, monkeypatch):
    pretend_gpu(monkeypatch)
    scene = EvaluationContext.open(
        exported, recorded_splits(Bundle.open(exported).manifest), images=4, seed=0, threads=1, serve_on="auto"
    )
    assert isinstance(scene.bundle.encoder, BucketedEncoder)
    assert scene.bundle.encoder.buckets[-1] == JUDGED_AT_ONCE


def test_a_full_evaluation_says_where_and_mixes_no_work(exported, encoder, tmp_path, monkeypatch):
    steps = tuple(Planned(step, 4.0) for step in (PGDAttack(Margin(0.05), 3), Noise()))
    monkeypatch.setattr(plan, "full", lambda effort, **_: steps)
    monkeypatch.setattr(plan, "bank_unknown", lambda effort: steps[:1])
    monkeypatch.setattr(checks, "EPSILONS", {"linf": (0.0, 16 / 255), "l2": (0.0, 1.0)})
    splits = recorded_splits(Bundle.open(exported).manifest)
    other = shutil.copytree(exported, tmp_path / "other")

    def run(work: Path, serve_on):
        settings = Settings(BALLS, images=16, curve_images=8, plants=1, effort=EFFORT, serve_on=serve_on)
        return evaluate_fully(exported, splits, settings, work=work, transfer_from=(other,)).report

    here = run(tmp_path / "here", "cpu")
    gpu = pretend_gpu(monkeypatch)
    there = run(tmp_path / "there", "cuda")
    assert (here.circumstances.served_on, there.circumstances.served_on) == ("cpu", f"cuda: {NAME}, in float32")
    assert len(gpu.made) == 1  # what transfers come from stays on the CPU
    assert (there.clean, there.threats[0].clean) == (here.clean, here.threats[0].clean)
    assert there.threats[0].robust.successes <= there.threats[0].clean.successes
    with pytest.raises(HoldfastError, match=f'served on: there null, now "cuda: {NAME}, in float32"'):
        run(tmp_path / "here", "cuda")
    with pytest.raises(HoldfastError, match=f'served on: there "cuda: {NAME}, in float32", now null'):
        run(tmp_path / "there", "cpu")
    monkeypatch.setattr(device, "find_gpu", lambda: "Another 4000")
    with pytest.raises(
        HoldfastError, match=f'served on: there "cuda: {NAME}, in float32", now "cuda: Another 4000, in float32"'
    ):
        run(tmp_path / "there", "auto")
    # The CPU is the CPU, whether it was asked for or taken in the GPU's place.
    monkeypatch.setattr(device, "find_gpu", missing)
    assert run(tmp_path / "here", "auto").circumstances.served_on == "cpu"


def test_a_report_of_before_was_served_on_the_cpu_and_says_so():
    report = read_report(Path(__file__).parents[3] / "bundles/cifar10-small")
    assert report.circumstances.served_on == "cpu"
    assert "answers computed on cpu" in render(report)


def missing() -> str:
    raise DeviceError("there is no GPU in this test")


@pytest.mark.parametrize("flags", [[], ["--full", "--balls", "linf:32/255"]])
def test_a_gpu_that_is_not_there_is_one_line(exported, monkeypatch, capsys, flags):
    monkeypatch.setattr(device, "find_gpu", missing)
    assert main([str(exported), "--images", "4", "--serve-on", "cuda", *flags]) == 1
    assert capsys.readouterr().out.strip() == "there is no GPU in this test"


def test_auto_says_why_it_took_the_cpu(exported, digits, monkeypatch, capsys):
    monkeypatch.setattr(device, "find_gpu", missing)
    assert main([str(exported), "--images", "4", "--steps", "1", "--serve-on", "auto"]) == 0
    assert "cpu: there is no GPU in this test" in " ".join(capsys.readouterr().out.split())


@pytest.mark.gpu
def test_a_real_gpu_judges_as_the_cpu_does(exported, encoder, digits):
    try:
        name = find_gpu()
    except DeviceError as error:
        pytest.skip(str(error))
    here = evaluate(exported, digits.test, encoder=encoder, attack=QUICK)
    there = evaluate(exported, digits.test, encoder=encoder, attack=QUICK, serve_on="cuda")
    assert there.served_on == Placement("cuda", name)
    assert (there.outcome.clean_labels == here.outcome.clean_labels).mean() >= 0.99
    assert (there.outcome.success == here.outcome.success).mean() >= 0.99
