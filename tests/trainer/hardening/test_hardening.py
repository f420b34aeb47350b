"""What comes of hardening an encoder that exists: near to the original, steadier under attack, and no other weights touched."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast.errors import HoldfastError
from holdfast.importing.encoder import EncoderOptions, read_encoder
from holdfast.model.encoder.onnx import OnnxEncoder
from holdfast.trainer import train
from holdfast.trainer.encoders import build_encoder
from holdfast.trainer.export.trained import load_trained
from holdfast.trainer.objectives import AmdimObjectiveConfig, SsatConfig, build_objective
from holdfast.trainer.state import checkpoint
from holdfast.trainer.state.checkpoint import CheckpointError
from holdfast.trainer.state.source import ParentBundle
from tests.holdfast.importing.foreign import channels_mean
from tests.trainer.hardening.tiny_parents import bundle_of, distances, hardened, photographs, run_of
from tests.trainer.tiny_runs import interrupted, rows, same

ROOT = Path(__file__).parents[3]
STRONG = ["--epsilon", "8/255", "--batch-size", "8", "--attack-steps", "3"]


def parameters_of(encoder):
    return dict(encoder.foreign.network.graph.named_parameters())


def original_of(parent):
    return read_encoder(parent / "encoder.onnx", EncoderOptions()).encoder


@pytest.mark.parametrize("name", ["transformer", "convolutional"])
def test_fare_pulls_attacked_embeddings_back_and_leaves_clean_ones_near(name, flat, tmp_path, request):
    parent = request.getfixturevalue(name)
    flags = ["--steps", "20", "--learning-rate", "1e-2"]
    encoder, _, splits = hardened(parent, flat, tmp_path / "run", *STRONG, *flags)
    original, images = original_of(parent), splits.learned_from.images
    _, before = distances(original, original, images, 8 / 255)
    clean, after = distances(encoder, original, images, 8 / 255)
    assert after < 0.8 * before
    assert clean < 0.5 * before


@pytest.mark.parametrize("name", ["transformer", "convolutional"])
def test_before_the_first_step_it_embeds_as_the_bundle_does(name, flat, tmp_path, request):
    parent = request.getfixturevalue(name)
    config, splits = run_of(parent, flat, tmp_path / "run")
    encoder, images = build_encoder(config.encoder), splits.learned_from.images
    with torch.no_grad():
        found = encoder(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).numpy()
    np.testing.assert_allclose(found, OnnxEncoder(parent / "encoder.onnx").embed(images), atol=1e-5)


def test_the_shipped_encoder_can_be_hardened(tmp_path):
    opened = ParentBundle.open(ROOT / "bundles" / "cifar10-small")
    assert opened.layers == 11
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "source.onnx").write_bytes(opened.graph)
    encoder = build_encoder(opened.config(tmp_path, frozen_layers=10))
    learning = [name for name, each in parameters_of(encoder).items() if each.requires_grad]
    assert learning == ["linear_22.weight", "linear_22.bias"]


@pytest.mark.parametrize(("name", "flags"), [("transformer", ["--freeze", "3"]), ("convolutional", ["--train-last", "1"])])
def test_frozen_layers_and_preprocessing_stay_to_the_bit_and_all_others_learn(name, flags, flat, tmp_path, request):
    parent = request.getfixturevalue(name)
    encoder, config, _ = hardened(parent, flat, tmp_path / "run", *STRONG, "--steps", "3", *flags)
    layers, count = encoder.layers, config.encoder.frozen_layers
    before, after = parameters_of(build_encoder(config.encoder)), parameters_of(encoder)
    kept = {*layers.preprocessing, *(name for layer in layers.layers[:count] for name in layer)}
    assert len(layers.preprocessing) == 2
    assert kept | layers.names(count) == before.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not changed & kept
    # A bias that a LayerNorm takes away again may stay.
    assert {name for name in layers.names(count) if name.endswith("weight")} <= changed


@pytest.mark.parametrize("name", ["transformer", "convolutional"])
def test_adapters_leave_the_weights_below_them_and_are_exported_as_one_with_them(name, flat, tmp_path, request):
    parent = request.getfixturevalue(name)
    flags = [*STRONG, "--steps", "3", "--adapters", "2"]
    encoder, config, splits = hardened(parent, flat, tmp_path / "run", *flags)
    kept = checkpoint.load(config.out).part("encoder.foreign.network.graph.")
    plain = parameters_of(build_encoder(replace(config.encoder, adapters=0)))
    adapted = {key.removesuffix(".parametrizations.weight.original"): kept[key] for key in kept if key.endswith("original")}
    assert adapted
    assert all(torch.equal(plain[f"{layer}.weight"], tensor) for layer, tensor in adapted.items())
    found = parameters_of(encoder)
    assert found.keys() == plain.keys()
    for parameter, tensor in plain.items():
        change = (found[parameter] - tensor).detach()
        if parameter.removesuffix(".weight") in adapted:
            assert 1 <= int(torch.linalg.matrix_rank(change.flatten(1), rtol=1e-3)) <= 2
        else:
            assert not change.any()
    pixels = torch.from_numpy(splits.learned_from.images[:3]).permute(0, 3, 1, 2).float() / 255
    trained = build_encoder(config.encoder)
    trained.load_state_dict(checkpoint.load(config.out).part("encoder."))
    with torch.no_grad():
        torch.testing.assert_close(trained(pixels), load_trained(config.out)(pixels))


@pytest.mark.parametrize("flags", [["--adapters", "2", "--average", "0.5"], ["--method", "ssat", "--freeze", "2"]])
def test_a_resumed_run_is_the_uninterrupted_one(flags, transformer, flat, tmp_path, monkeypatch):
    flags = [*STRONG, "--steps", "5", "--checkpoint-every", "2", *flags]
    whole, _, _ = hardened(transformer, flat, tmp_path / "whole", *flags)
    interrupted(monkeypatch, *run_of(transformer, flat, tmp_path / "broken", *flags), 3)
    resumed, _, _ = hardened(transformer, flat, tmp_path / "broken", *flags, "--resume")
    assert same(whole, resumed)


def test_a_run_that_was_moved_is_read_where_it_lies(transformer, flat, tmp_path):
    encoder, config, _ = hardened(transformer, flat, tmp_path / "run", *STRONG, "--steps", "2")
    moved = config.out.rename(tmp_path / "moved")
    assert same(encoder, load_trained(moved))
    (moved / "checkpoint" / "source.onnx").write_bytes(b"another")
    with pytest.raises(HoldfastError, match="source.onnx"):
        load_trained(moved)


def test_another_encoder_is_not_resumed(transformer, convolutional, flat, tmp_path):
    hardened(transformer, flat, tmp_path / "run", *STRONG, "--steps", "2")
    config, splits = run_of(convolutional, flat, tmp_path / "run", *STRONG, "--steps", "2", "--resume")
    with pytest.raises(CheckpointError, match="encoder.sha256"):
        train.train(config, splits)


@pytest.mark.parametrize("name", ["transformer", "convolutional"])
def test_activations_that_are_computed_twice_change_no_weight(name, flat, tmp_path, request):
    parent = request.getfixturevalue(name)
    flags = [*STRONG, "--steps", "3", "--precision", "float32"]
    kept, _, _ = hardened(parent, flat, tmp_path / "kept", *flags)
    for segments in ("2", "100"):
        twice, _, _ = hardened(parent, flat, tmp_path / segments, *flags, "--checkpoint-activations", segments)
        assert same(kept, twice)


@pytest.mark.slow
def test_two_threads_harden_as_one_within_rounding(transformer, flat, tmp_path):
    """FARE relates no images of a batch; so shards differ by the random starts of their attacks alone."""
    flags = ["--epsilon", "0", "--steps", "3", "--batch-size", "8", "--clean-weight", "1", "--precision", "float32"]
    one, _, _ = hardened(transformer, flat, tmp_path / "one", *flags)
    two, _, _ = hardened(transformer, flat, tmp_path / "two", *flags, "--threads", "2")
    for ours, theirs in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("config", [AmdimObjectiveConfig(), SsatConfig(), SsatConfig(arm="guided")])
def test_objectives_that_relate_inner_maps_are_refused(config, transformer, flat, tmp_path):
    encoder = build_encoder(run_of(transformer, flat, tmp_path / "run")[0].encoder)
    with pytest.raises(HoldfastError, match="maps"):
        build_objective(config, encoder, 2)


@pytest.mark.parametrize("method", ["deacl", "ssat", "trades"])
def test_every_method_trains_square_images_and_others(method, tmp_path):
    parent = bundle_of(channels_mean(("N", 3, 8, 12)), tmp_path)
    images = photographs(tmp_path / "photos", side=(10, 9))
    encoder, config, splits = hardened(parent, images, tmp_path / "run", *STRONG, "--steps", "2", "--method", method)
    assert splits.learned_from.images.shape[1:] == (8, 12, 3)
    original = build_encoder(config.encoder)
    assert not same(encoder, original)
    assert rows(config)[0]["robust"]
