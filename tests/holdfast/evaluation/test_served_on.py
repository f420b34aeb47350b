"""Evaluations whose answers are computed on a GPU, which is stood in for but in the last test."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from holdfast.attacks.adaptive import LOSSES, AdaptiveAttack
from holdfast.attacks.victim import SERVED_BATCH
from holdfast.bundle.reader import Bundle
from holdfast.bundle.threat_model import ThreatModel
from holdfast.errors import DeviceError, HoldfastError
from holdfast.evaluation import EvaluationPlan, evaluate, quick_plan, recorded_splits
from holdfast.evaluation.cli import main
from holdfast.evaluation.context import EvaluationContext
from holdfast.evaluation.suites import Effort
from holdfast.model.encoder import device
from holdfast.model.encoder.bucketed import BucketedEncoder
from holdfast.model.encoder.device import CPU, Placement, find_gpu
from tests.holdfast.evaluation.short import evaluated
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
    assert gpu.made
    np.testing.assert_array_equal(there.outcome.clean_labels, here.outcome.clean_labels)
    np.testing.assert_array_equal(there.outcome.success, here.outcome.success)
    assert here.robust.successes < here.clean.successes
    if with_torch:  # Otherwise candidates, too, go by embeddings, whose last digits are of another batch.
        np.testing.assert_array_equal(there.outcome.adversarial, here.outcome.adversarial)


def test_a_batch_of_answers_is_embedded_whole(exported, monkeypatch):
    pretend_gpu(monkeypatch)
    plan = quick_plan(images=4, serve_on="auto")
    context = EvaluationContext.open(exported, recorded_splits(Bundle.open(exported).manifest), plan)
    assert isinstance(context.bundle.encoder, BucketedEncoder)
    assert context.bundle.encoder.buckets[-1] == SERVED_BATCH


def test_a_full_evaluation_says_where_and_mixes_no_results(exported, tmp_path, monkeypatch, short):
    other = shutil.copytree(exported, tmp_path / "other")

    def run(cache: Path, serve_on):
        plan = EvaluationPlan(
            BALLS, images=16, knowledge=("bank known",), curve_images=8, plants=1, effort=EFFORT, serve_on=serve_on
        )
        return evaluated(exported, cache, plan, transfer_from=(other,)).report

    here = run(tmp_path / "here", "cpu")
    gpu = pretend_gpu(monkeypatch)
    there = run(tmp_path / "there", "cuda")
    assert here.provenance.served_on == "cpu"
    assert there.provenance.served_on == f"cuda: {NAME}, in float32"
    assert len(gpu.made) == 1  # what transfers come from stays on the CPU
    assert (there.clean, there.threats[0].clean) == (here.clean, here.threats[0].clean)
    assert there.threats[0].robust.successes <= there.threats[0].clean.successes
    with pytest.raises(HoldfastError, match=f"served on: there null, now .*{NAME}"):
        run(tmp_path / "here", "cuda")
    with pytest.raises(HoldfastError, match=f"served on: there .*{NAME}.*, now null"):
        run(tmp_path / "there", "cpu")
    monkeypatch.setattr(device, "find_gpu", lambda: "Another 4000")
    with pytest.raises(HoldfastError, match=f"served on: there .*{NAME}.*, now .*Another 4000"):
        run(tmp_path / "there", "auto")
    # The CPU is the CPU, whether it was asked for or taken in the GPU's place.
    monkeypatch.setattr(device, "find_gpu", missing)
    assert run(tmp_path / "here", "auto").provenance.served_on == "cpu"


def missing() -> str:
    raise DeviceError("there is no GPU in this test")


@pytest.mark.parametrize("flags", [[], ["--full", "--balls", "linf:32/255"]])
def test_a_gpu_that_is_not_there_is_one_line(exported, monkeypatch, capsys, flags):
    monkeypatch.setattr(device, "find_gpu", missing)
    assert main([str(exported), "--images", "4", "--serve-on", "cuda", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "there is no GPU in this test" in line


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
