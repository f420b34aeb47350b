import json
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers as tf
from huggingface_hub import constants
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from holdfast.importing.encoder import EncoderOptions, read_encoder
from holdfast.importing.errors import EncoderImportError
from holdfast.importing.preprocessing import InputOptions
from holdfast.importing.pretrained.processing import preprocessing_of_processor
from holdfast.importing.pretrained.towers import FAMILIES
from holdfast.model.preprocess import fit
from tests.holdfast.importing import saved_models
from tests.holdfast.importing.saved_models import CROPPED, PLAIN, SHORTEST, SIDE

PICTURES = [
    np.random.default_rng(i).integers(0, 256, size, dtype=np.uint8)
    for i, size in enumerate([(SIDE, SIDE, 3), (70, 45, 3), (33, 90, 3), (20, 20, 3)])
]


@pytest.mark.parametrize("kind", sorted({kind for kind in FAMILIES if not kind.endswith("vision_model")}))
def test_every_family_embeds_as_its_library_does(kind, tmp_path):
    folder, embed = saved_models.save(kind, tmp_path / "model")
    imported = read_encoder(folder, EncoderOptions())
    contract, processor = imported.preprocessing.contract, saved_models.processor_of(kind)
    assert contract.size == (SIDE, SIDE)
    assert contract.shortest == (SHORTEST if processor is not None and "height" not in processor.to_dict()["size"] else None)
    fitted = torch.from_numpy(np.stack([fit(each, contract) for each in PICTURES]))
    found = F.normalize(imported.encoder(fitted.permute(0, 3, 1, 2).float() / 255), dim=1)
    with imported.reference() as reference:
        np.testing.assert_allclose(reference.embed(fitted.numpy()), found.numpy(), atol=1e-5)
    pixels = torch.from_numpy(imported.preprocessing.in_numpy(fitted.numpy()))
    torch.testing.assert_close(F.normalize(embed(pixels), dim=1), found, atol=1e-5, rtol=0)
    if processor is not None:
        theirs = processor(images=PICTURES[1:], input_data_format="channels_last", return_tensors="pt")["pixel_values"]
        levels = (theirs - pixels[1:]).abs() * torch.tensor(imported.preprocessing.std).reshape(1, 3, 1, 1) * 255
        assert levels.mean() < 0.5
        assert (F.normalize(embed(theirs), dim=1) - found[1:]).abs().max() < 0.05


@settings(max_examples=25, deadline=None)
@given(
    factor=st.sampled_from([1 / 255, 1 / 127.5, 1.0]),
    rescaled=st.booleans(),
    normalised=st.booleans(),
    mean=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    std=st.lists(st.floats(0.125, 1), min_size=3, max_size=3),
)
def test_pixels_are_scaled_as_the_processor_scales_them(*, factor, rescaled, normalised, mean, std):
    processor = tf.ViTImageProcessorPil(
        **PLAIN,
        do_rescale=rescaled,
        rescale_factor=factor,
        do_normalize=normalised,
        image_mean=mean,
        image_std=std,
    )
    prepared = preprocessing_of_processor(processor.to_dict(), "it")
    theirs = processor(images=PICTURES[:1], input_data_format="channels_last", return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(prepared.in_numpy(PICTURES[0][np.newaxis]), theirs, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return saved_models.save("vit", tmp_path_factory.mktemp("vit") / "model")[0]


def copied(vit, tmp_path, **processor):
    """A copy whose processor says something else."""
    folder = tmp_path / "copied"
    shutil.copytree(vit, folder)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | processor))
    return folder


def refused(folder):
    with pytest.raises(EncoderImportError) as refusal:
        read_encoder(folder, EncoderOptions())
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("processor", "said"),
    [
        ({"do_resize": False}, "do_resize"),
        ({"resample": 0}, "filter 0"),
        ({"do_pad": True}, "pads"),
        ({"size": {"shortest_edge": SIDE}, "do_center_crop": False}, "do_center_crop"),
        ({"size": {"longest_edge": SIDE}}, "longest_edge"),
        (CROPPED | {"size": PLAIN["size"], "crop_size": {"height": 16, "width": 16}}, "squeezes"),
        (CROPPED | {"size": {"shortest_edge": 16}}, "shorter side of 16"),
        ({"size": {"height": 48, "width": 48}}, "48 x 48"),
        ({"image_std": [0, 1, 1]}, "cannot be"),
        ({"image_processor_type": "NoSuchProcessor"}, "cannot be loaded"),
    ],
)
def test_a_processor_that_cannot_be_followed_is_said(vit, tmp_path, processor, said):
    assert said in refused(copied(vit, tmp_path, **processor))


@pytest.mark.parametrize("kind", ["vit", "clip"])
def test_without_a_processor_it_is_said_what_is_needed(kind, tmp_path):
    folder, _ = saved_models.save(kind, tmp_path / "model")
    (folder / "preprocessor_config.json").unlink()
    said = refused(folder)
    example = json.loads(said[said.index("{") :])
    assert preprocessing_of_processor(example, "the example").contract.shortest == 224


def test_pickles_are_not_loaded(vit, tmp_path):
    folder = copied(vit, tmp_path)
    (folder / "model.safetensors").unlink()
    assert "no weights" in refused(folder)
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    said = refused(folder)
    assert "pytorch_model.bin" in said
    assert "save_pretrained" in said


@pytest.mark.parametrize("share", [0.0, 0.01, 0.9])
def test_torn_weights_are_said(vit, tmp_path, share):
    folder = copied(vit, tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: int(weights.stat().st_size * share)])
    assert "cut short" in refused(folder)


def test_weights_that_are_missing_are_not_made_up(vit, tmp_path):
    folder = copied(vit, tmp_path)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "patch_embeddings" in name and name.endswith("weight"))
    save_file({key: value for key, value in weights.items() if key != name}, folder / "model.safetensors", {"format": "pt"})
    said = refused(folder)
    assert "patch_embeddings" in said
    assert "random" in said


def test_weights_in_several_files_are_read_and_all_have_to_be_there(vit, tmp_path):
    folder = copied(vit, tmp_path)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({name: weights[name] for name in held}, folder / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, held in parts.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    whole, split = (read_encoder(each, EncoderOptions()) for each in (vit, folder))
    pixels = torch.rand(2, 3, SIDE, SIDE)
    torch.testing.assert_close(split.encoder(pixels), whole.encoder(pixels))
    (folder / "b.safetensors").unlink()
    assert "b.safetensors" in refused(folder)
    index["weight_map"][names[0]] = "../a.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "a.safetensors" in refused(folder)


@pytest.mark.parametrize("kind", ["clip_text_model", "bert", "detr", ""])
def test_what_is_no_image_encoder_is_said(vit, tmp_path, kind):
    folder = copied(vit, tmp_path)
    config = json.loads((folder / "config.json").read_text()) | {"model_type": kind}
    (folder / "config.json").write_text(json.dumps(config))
    said = refused(folder)
    assert kind in said
    assert "dinov2" in said


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_config_is_said(vit, tmp_path, text):
    folder = copied(vit, tmp_path)
    (folder / "config.json").write_text(text)
    assert "config.json" in refused(folder)


def test_what_a_person_says_of_an_onnx_file_is_refused(vit):
    for options in (EncoderOptions(pool="cls"), EncoderOptions(input=InputOptions(mean=(0, 0, 0)))):
        with pytest.raises(EncoderImportError, match="leave out"):
            read_encoder(vit, options)


def test_a_model_is_found_in_the_cache_by_its_name(vit, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    said = refused(type(vit)("somebody/a-vit"))
    assert "hf download somebody/a-vit" in said
    held = tmp_path / "models--somebody--a-vit"
    (held / "refs").mkdir(parents=True)
    (held / "refs" / "main").write_text("0" * 40)
    shutil.copytree(vit, held / "snapshots" / ("0" * 40))
    imported = read_encoder(type(vit)("somebody/a-vit"), EncoderOptions())
    assert imported.source.path.as_posix() == "somebody/a-vit"
    assert imported.source.sha256 == read_encoder(vit, EncoderOptions()).source.sha256
