"""What a checkpoint records of its run, and what it may lack."""

import json
from dataclasses import replace

import pytest
import torch

from holdfast.trainer.config import Stage
from holdfast.trainer.encoders import build_encoder
from holdfast.trainer.objectives import AugmentationAdversarialConfig
from holdfast.trainer.objectives.contrastive.channel_views import CameraViews, SpeechViews
from holdfast.trainer.presets import PRESETS
from holdfast.trainer.state import checkpoint
from holdfast.trainer.state.checkpoint import CheckpointError, Position
from holdfast.trainer.state.record import completed, flat, plain


def test_flat_names_every_leaf() -> None:
    assert flat({"a": [{"b": 1}, {"b": None}], "c": "x"}) == {"a.0.b": 1, "a.1.b": None, "c": "x"}


@pytest.mark.parametrize("name", PRESETS)
def test_a_record_of_today_lacks_nothing(name) -> None:
    record = plain(PRESETS[name][1])
    assert completed(record) == record
    assert json.loads(json.dumps(record)) == record


def test_what_a_record_lacks_is_its_default_at_every_depth() -> None:
    config = PRESETS["digits"][1]
    config = replace(config, encoder=replace(config.encoder, activation="relu"))
    record = plain(config)
    expected = json.loads(json.dumps(record))
    del record["encoder"]["stages"]
    del record["encoder"]["activation"]
    del record["threads"]
    for stage in record["stages"]:
        del stage["betas"]
        del stage["average"]
        del stage["objective"]["augment"]["translate_chance"]
    del record["stages"][1]["objective"]["norm"]
    assert completed(record) == expected


def test_a_record_of_unknown_kinds_is_left_as_it_is() -> None:
    record = plain(PRESETS["digits"][1])
    record["encoder"] = {"type": "NotYetInvented", "width": 3}
    assert completed(record)["encoder"] == {"type": "NotYetInvented", "width": 3}


@pytest.mark.parametrize("views", [SpeechViews(profiles=3), CameraViews()])
def test_where_there_was_no_choice_then_the_class_is_the_one_that_has_such_fields(views) -> None:
    stage = Stage("pairs", AugmentationAdversarialConfig(views=views), steps=1)
    record = plain(replace(PRESETS["digits"][1], stages=(stage,)))
    expected = json.loads(json.dumps(record))
    del record["stages"][0]["objective"]["views"]["type"]
    assert completed(record) == expected
    record["stages"][0]["objective"]["views"] = {"never": "heard of"}
    assert completed(record)["stages"][0]["objective"]["views"] == {"never": "heard of"}


def test_a_checkpoint_from_before_a_field_there_is_now_can_be_gone_on_from(tmp_path, monkeypatch) -> None:
    config = replace(PRESETS["digits"][1], out=tmp_path)

    def plain_then(config):
        record = plain(config)
        del record["encoder"]["stages"]
        return record

    monkeypatch.setattr(checkpoint, "plain", plain_then)
    torch.manual_seed(0)
    encoder = build_encoder(config.encoder)
    checkpoint.save(config, "abc", Position(0, 1, 1.0), {"encoder": encoder.state_dict(), "objective": {}})
    monkeypatch.setattr(checkpoint, "plain", plain)
    found = checkpoint.checkpoint_to_resume(replace(config, resume=True), "abc")
    assert found is not None
    assert found.config["encoder"]["stages"] == 3
    assert torch.equal(checkpoint.load_encoder(tmp_path).to5[0].conv1.weight, encoder.to5[0].conv1.weight)
    deeper = replace(config, resume=True, encoder=replace(config.encoder, stages=4))
    with pytest.raises(CheckpointError, match=r"encoder\.stages: 3 there, 4 now"):
        checkpoint.checkpoint_to_resume(deeper, "abc")
