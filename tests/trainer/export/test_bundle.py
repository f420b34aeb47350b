"""What the manifest says of a training."""

from dataclasses import replace

from holdfast.trainer.export import bundle as write_bundle
from holdfast.trainer.objectives import AmdimObjectiveConfig, PseudoLabelledConfig, SequentialConfig, TradesConfig
from holdfast.trainer.presets import DIGITS


def test_a_stage_is_described_by_its_name_its_threat_and_its_steps() -> None:
    amdim, ssat = DIGITS.stages
    assert isinstance(amdim.objective, AmdimObjectiveConfig)
    assert write_bundle.describe_stage(amdim) == f"amdim, {amdim.steps} steps of 128"
    assert write_bundle.describe_stage(ssat).startswith("ssat (label_free, L-inf 24/255), ")
    chunk = replace(amdim, name="chunk1", objective=SequentialConfig(ssat.objective, anchor=2.0), chunk=1)
    expected = f"chunk1 (Ssat, label_free, L-inf 24/255, replay 0.1, anchor 2), {amdim.steps} steps of 128 on chunk 1"
    assert write_bundle.describe_stage(chunk) == expected


def test_what_is_done_after_the_training_is_described() -> None:
    assert write_bundle.describe_postprocessing(DIGITS) == []
    both = write_bundle.describe_postprocessing(replace(DIGITS, half=True, whitening=0.25))
    assert "float16" in both[0]
    assert "0.25" in both[1]


def test_only_what_learns_from_attacked_images_is_called_hardened() -> None:
    amdim, ssat = (stage.objective for stage in DIGITS.stages)
    assert not write_bundle.hardens(amdim)
    assert write_bundle.hardens(ssat)
    assert not write_bundle.hardens(replace(ssat, epsilon=0.0))
    assert write_bundle.hardens(SequentialConfig(ssat))
    assert not write_bundle.hardens(SequentialConfig(amdim))
    assert write_bundle.hardens(PseudoLabelledConfig(TradesConfig()))
    assert not write_bundle.hardens(PseudoLabelledConfig(TradesConfig(steps=0)))
