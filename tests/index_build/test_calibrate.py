"""Calibrating an index again, with the held-out embeddings that travel with it and without."""

import numpy as np
import pytest

from holdfast import data
from holdfast.bundle import Bundle, BundleWriter, read_manifest
from holdfast.bundle.manifest import DataRecord
from holdfast.errors import BundleError
from holdfast.index_build import build_index
from holdfast.index_build.calibrate import recalibrate
from holdfast.index_build.cli import main
from holdfast.model.vote import VoteParameters
from tests import bundles
from tests.bundles import Linear


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", size=8, calibration=100)


@pytest.fixture
def bundle(tmp_path, digits):
    record = DataRecord(name="digits", sha256=digits.sha256, calibration=100, seed=0)
    vote = VoteParameters(k=15, weighting="exponential", temperature=0.05)
    encoder = Linear.random(8, 16, grey=80 / 255)
    directory = bundles.write_bundle(tmp_path / "bundle", encoder, digits.class_names, data=record, vote=vote)
    build_index(directory, digits, quiet=True)
    return directory


def without_calibration(directory, **changes):
    writer = BundleWriter.open(directory)
    writer.drop("calibration.npz")
    writer.commit(read_manifest(directory).model_copy(update={"calibration": None, **changes}))


def files(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_the_held_out_images_travel_with_the_bundle(bundle, digits):
    held, opened = Bundle.open(bundle).calibration_set, Bundle.open(bundle)
    np.testing.assert_allclose(held.embeddings, opened.encoder.embed(digits.calibration.images), atol=1e-6)
    np.testing.assert_array_equal(held.labels, digits.calibration.labels)
    assert held.sources == tuple(digits.calibration.sources)


def test_calibrating_again_comes_to_the_same_without_images(bundle, tmp_path, capsys):
    before = files(bundle)
    assert main([str(bundle), "--recalibrate", "--data-dir", str(tmp_path / "nowhere")]) == 0
    assert "held-out images" in " ".join(capsys.readouterr().out.split())
    assert files(bundle) == before


def test_a_share_of_ones_own(bundle):
    assert recalibrate(bundle, coverage=0.5).calibration.coverage == pytest.approx(0.5, abs=0.05)
    assert Bundle.open(bundle).manifest.calibration.coverage == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("again", [("--recalibrate",), ("--k", "3", "--out"), ("--data", "digits", "--out"), ()])
def test_the_share_of_before_stays_where_nobody_says_another(bundle, again, tmp_path):
    recalibrate(bundle, coverage=0.5)
    out = tmp_path / "new" if "--out" in again else bundle
    assert main([str(bundle), *again, *([str(out)] if "--out" in again else [])]) == 0
    assert read_manifest(out).calibration.wanted == 0.5


def test_a_bundle_of_an_older_schema_embeds_its_set_again(bundle, caplog):
    """What the migration leaves out is made again, to the last digit of what a new build writes."""
    whole, before = read_manifest(bundle), files(bundle)
    without_calibration(bundle, uncalibrated="for a reason")
    assert "reason" in Bundle.open(bundle).manifest.uncalibrated
    assert recalibrate(bundle) == whole
    assert files(bundle) == before
    caplog.clear()
    Bundle.open(bundle)
    assert not caplog.records


def test_another_set_and_a_set_without_calibration_part_are_refused(bundle, capsys):
    manifest = read_manifest(bundle)
    none = data.load("digits", size=8, calibration=0).sha256
    for changes, word in (({"sha256": "0" * 64}, "digits images here"), ({"calibration": 0, "sha256": none}, "--calibration")):
        record = manifest.training.data.model_copy(update=changes)
        without_calibration(bundle, training=manifest.training.model_copy(update={"data": record}))
        before = files(bundle)
        assert main([str(bundle), "--recalibrate"]) == 2
        assert word in " ".join(capsys.readouterr().err.split())
        assert files(bundle) == before


@pytest.mark.parametrize("coverage", [0, -1, 1.5])
def test_a_share_that_cannot_be_is_refused(bundle, coverage, capsys):
    with pytest.raises(BundleError, match="coverage"):
        recalibrate(bundle, coverage=coverage)
    with pytest.raises(SystemExit):
        main([str(bundle), "--recalibrate", "--coverage", str(coverage)])
    assert "--coverage" in capsys.readouterr().err


def test_how_many_images_are_enough_goes_by_the_share_that_is_asked_for(bundle, capsys):
    for coverage, few in (("0.999", True), ("0.95", False)):
        assert main([str(bundle), "--recalibrate", "--coverage", coverage]) == 0
        assert ("at least 999" in " ".join(capsys.readouterr().out.split())) == few
        assert read_manifest(bundle).calibration.wanted == float(coverage)
