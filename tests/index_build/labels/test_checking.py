"""Labels that are doubted: by neighbours or by the training, and flagged, changed or left out."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from holdfast.bundle import Bundle, BundleWriter, read_manifest
from holdfast.bundle.beliefs import BELIEFS, Beliefs
from holdfast.bundle.exemplars import Flag
from holdfast.data import load
from holdfast.errors import BundleError
from holdfast.index_build import IndexBuildError, build_index
from holdfast.index_build.cli import main
from tests.index_build.test_index_build import write_bundle

DOUBTED = "doubted.csv"


@pytest.fixture(scope="module")
def noisy():
    return load("digits", size=8, calibration=100, label_noise=0.1)


@pytest.fixture
def bundle(tmp_path, noisy):
    return write_bundle(tmp_path / "bundle", noisy, label_noise=0.1)


def leave(bundle, splits, *, sure=0.9, data=None):
    """Targets of a training that has seen through all of the noise."""
    true = splits.noise.true_labels
    targets = np.full((len(true), 10), (1 - sure) / 9, np.float32)
    targets[np.arange(len(true)), true] = sure
    Beliefs(targets, data or splits.sha256).save(bundle)
    return true


def listed(bundle):
    with (bundle / DOUBTED).open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_index_gets_the_noise_of_the_training_and_evaluations_true_labels(bundle, noisy):
    build_index(bundle, quiet=True)
    exemplars = Bundle.open(bundle).exemplars
    assert np.array_equal(exemplars.labels, noisy.train.labels)
    assert exemplars.believed is None
    assert not (bundle / DOUBTED).exists()
    assert read_manifest(bundle).index.labels is None


def test_labels_as_given_are_flagged_where_the_training_doubts_them(bundle, noisy):
    true = leave(bundle, noisy)
    build_index(bundle, quiet=True)
    exemplars, wrong = Bundle.open(bundle).exemplars, noisy.train.labels != true
    assert np.array_equal(exemplars.labels, noisy.train.labels)
    assert np.array_equal(exemplars.flags & Flag.DOUBTED > 0, wrong)
    assert np.array_equal(exemplars.believed, np.where(wrong, true, -1))
    record = read_manifest(bundle).index.labels
    assert (record.labels, record.doubted, record.done) == ("given", wrong.sum(), "flagged")
    rows = listed(bundle)
    assert [int(row["id"]) for row in rows] == np.flatnonzero(wrong).tolist()
    assert {row["done"] for row in rows} == {"flagged"}
    assert [row["given"] for row in rows] == [str(label) for label in noisy.train.labels[wrong]]
    assert [row["believed"] for row in rows] == [str(label) for label in true[wrong]]


def test_adapted_labels_are_what_the_training_believes(bundle, noisy, capsys):
    true = leave(bundle, noisy)
    assert main([str(bundle), "--labels", "adapted", "--threads", "1"]) == 0
    assert "relabelled" in capsys.readouterr().out
    opened = Bundle.open(bundle)
    assert np.array_equal(opened.exemplars.labels, true)
    assert np.array_equal(np.sort(opened.index.export().labels), np.sort(true))
    assert np.array_equal(opened.exemplars.flags & Flag.DOUBTED > 0, noisy.train.labels != true)
    assert {row["done"] for row in listed(bundle)} == {"relabelled"}


@pytest.mark.parametrize("labels", ["adapted", "audited"])
def test_doubted_images_can_be_left_out_and_are_listed(bundle, noisy, labels):
    true = leave(bundle, noisy)
    build_index(bundle, labels=labels, doubted="drop", quiet=True)
    opened, rows = Bundle.open(bundle), listed(bundle)
    gone = {int(row["id"]) for row in rows}
    kept = np.array([row for row in range(len(true)) if row not in gone])
    assert opened.exemplars.ids.tolist() == kept.tolist()
    assert np.array_equal(opened.exemplars.labels, noisy.train.labels[kept])
    assert opened.exemplars.sources.tolist() == [noisy.train.sources[row] for row in kept]
    np.testing.assert_allclose(opened.index.export().embeddings, opened.encoder.embed(noisy.train.images[kept]), atol=1e-6)
    assert read_manifest(bundle).index.next_id == len(true)
    wrong = noisy.train.labels != true
    assert np.mean(wrong[list(gone)]) > (0.99 if labels == "adapted" else 0.4)
    assert np.mean(wrong[kept]) < 0.03


def test_audited_labels_are_those_of_the_neighbours(bundle, noisy):
    build_index(bundle, quiet=True)
    before = Bundle.open(bundle).exemplars
    build_index(bundle, labels="audited", quiet=True)
    after = Bundle.open(bundle).exemplars
    disagreed = before.flags & Flag.DISAGREES > 0
    assert np.array_equal(after.flags & Flag.DOUBTED > 0, disagreed)
    assert np.array_equal(after.labels != before.labels, disagreed)
    assert np.array_equal(after.believed[disagreed], after.labels[disagreed])
    true = noisy.noise.true_labels
    assert np.mean(after.labels == true) > np.mean(before.labels == true)
    build_index(bundle, quiet=True)
    again = Bundle.open(bundle).exemplars
    assert np.array_equal(again.labels, before.labels)
    assert not (bundle / DOUBTED).exists()


def test_doubts_stay_with_exemplars_that_are_kept(bundle, noisy, tmp_path):
    true = leave(bundle, noisy)
    build_index(bundle, quiet=True)
    assert main([str(bundle), "--out", str(tmp_path / "new"), "--rename", "3=three", "--threads", "1"]) == 0
    opened = Bundle.open(tmp_path / "new")
    names = np.array([*opened.class_names, ""])
    expected = np.where(noisy.train.labels != true, np.array([*"012", "three", *"456789"])[true], "")
    assert names[opened.exemplars.believed].tolist() == expected.tolist()
    assert np.array_equal(opened.exemplars.flags & Flag.DOUBTED > 0, noisy.train.labels != true)


@pytest.mark.parametrize("left", ["nothing", "of another set", "of fewer classes"])
def test_without_targets_of_this_set_there_are_no_adapted_labels(bundle, noisy, left, tmp_path):
    if left == "of another set":
        leave(bundle, noisy, data="another")
    elif left == "of fewer classes":
        Beliefs(np.ones((len(noisy.train), 3), np.float32), noisy.sha256).save(bundle)
    before = {path.name: path.read_bytes() for path in bundle.iterdir() if path.is_file()}
    with pytest.raises(IndexBuildError, match=f"needs the targets.*{BELIEFS}"):
        build_index(bundle, labels="adapted", quiet=True)
    assert before.items() <= {path.name: path.read_bytes() for path in bundle.iterdir() if path.is_file()}.items()
    build_index(bundle, quiet=True)
    assert main([str(bundle), "--labels", "adapted", "--out", str(tmp_path / "new"), "--k", "3"]) == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"doubted": "drop"}, "does nothing"),
        ({"doubted": "drop", "labels": "audited", "hardening": "any"}, "do not go together"),
    ],
)
def test_options_that_do_not_go_together_are_refused(bundle, options, what):
    with pytest.raises(IndexBuildError, match=what):
        build_index(bundle, quiet=True, **options)


def test_a_class_of_which_nothing_would_be_left_is_refused(tmp_path, noisy):
    directory = write_bundle(tmp_path / "bundle", noisy, label_noise=0.1)
    targets = np.zeros((len(noisy.train), 10), np.float32)
    targets[np.arange(len(noisy.train)), np.where(noisy.train.labels == 4, 5, noisy.train.labels)] = 1
    Beliefs(targets, noisy.sha256).save(directory)
    with pytest.raises(IndexBuildError, match="no exemplar of 4 is left"):
        build_index(directory, labels="adapted", doubted="drop", quiet=True)


def test_a_table_that_believes_in_no_class_is_refused(bundle, noisy):
    leave(bundle, noisy)
    build_index(bundle, quiet=True)
    exemplars = replace(Bundle.open(bundle).exemplars, believed=np.full(len(noisy.train), 10))
    writer = BundleWriter.open(bundle)
    writer.add("exemplars.npz", exemplars.save)
    writer.commit(read_manifest(bundle))
    with pytest.raises(BundleError, match="classes that there are not"):
        Bundle.open(bundle)
