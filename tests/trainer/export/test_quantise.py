"""An encoder in int8: near what it was, alone without an index, and refused where there is nothing to round."""

import shutil
from collections import Counter

import numpy as np
import onnx
import pytest

from holdfast.bundle.reader import Bundle, read_manifest
from holdfast.errors import HoldfastError
from holdfast.exit_status import REFUSED
from holdfast.index_build.build import build_index
from holdfast.model.encoder.agreement import cosine_distance
from holdfast.trainer.export.int8_graph import convolutions_worth_it
from holdfast.trainer.export.quantise import main, quantise


@pytest.fixture(scope="module")
def rounded(exported, tmp_path_factory):
    to = tmp_path_factory.mktemp("int8") / "rounded"
    return quantise(exported, to, images=100), to


def test_embeddings_stay_near(rounded, exported, digits):
    similarity, to = rounded
    before, after = (Bundle.open_encoder(directory).encoder for directory in (exported, to))
    images = digits.test.images[:100]
    distance = cosine_distance(after.embed(images), before.embed(images))
    assert similarity > 0.99
    assert np.median(distance) < 0.01
    np.testing.assert_allclose(np.linalg.norm(after.embed(images), axis=1), 1, atol=1e-5)


def test_its_convolutions_are_in_int8_and_the_first_is_not(rounded, exported):
    before, after = (onnx.load(directory / "encoder.onnx") for directory in (exported, rounded[1]))
    kinds = Counter(node.op_type for node in after.graph.node)
    total = sum(node.op_type == "Conv" for node in before.graph.node)
    assert kinds["Conv"] == total > len(convolutions_worth_it(before)) > 0
    assert kinds["QuantizeLinear"] > 0
    assert convolutions_worth_it(after) == []
    assert {i.data_type for i in after.graph.initializer} >= {onnx.TensorProto.INT8, onnx.TensorProto.FLOAT}


def test_nothing_measured_of_the_old_encoder_is_kept_and_an_index_completes_it(rounded, digits, tmp_path):
    to = tmp_path / "complete"
    shutil.copytree(rounded[1], to)
    manifest = read_manifest(to)
    assert (manifest.index, manifest.calibration, manifest.accuracy) == (None, None, None)
    assert "int8" in manifest.training.encoder
    build_index(to, digits, quiet=True)
    bundle = Bundle.open(to)
    answers = bundle.classifier().classify(digits.test.images[:200])
    assert (answers.labels == digits.test.labels[:200]).mean() > 0.7
    assert bundle.gradient.dim == bundle.encoder.dim


def test_weights_that_are_stored_once_for_all_graphs_come_along(exported_half, tmp_path):
    quantise(exported_half, tmp_path / "to", images=50)
    bundle = Bundle.open_encoder(tmp_path / "to")
    assert bundle.gradient.dim == bundle.encoder.dim


def test_what_cannot_be_rounded_is_refused_and_nothing_is_written(rounded, exported, tmp_path, capsys):
    to = tmp_path / "to"
    with pytest.raises(HoldfastError, match="int8"):
        quantise(rounded[1], to, images=10)
    assert not to.exists()
    assert main([str(exported), str(exported)]) == REFUSED
    assert main([str(tmp_path / "absent"), str(to)]) == REFUSED
    assert len(capsys.readouterr().err.splitlines()) == 2
