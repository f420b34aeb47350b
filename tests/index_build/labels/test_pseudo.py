"""Exemplars whose label nobody gave: what the classifier is sure of and the neighbours confirm, and nothing else."""

import numpy as np
import pytest

from holdfast import data
from holdfast.bundle import Bundle, read_manifest
from holdfast.bundle.beliefs import Beliefs
from holdfast.bundle.exemplars import Flag
from holdfast.bundle.manifest import DataRecord
from holdfast.index_build import IndexBuildError, build_index
from holdfast.index_build.cli import main
from holdfast.model.vote import VoteParameters
from tests import bundles
from tests.bundles import Linear

LABELS = 200


@pytest.fixture(scope="module")
def few():
    return data.load("digits", size=8, calibration=100, labels=LABELS)


@pytest.fixture(scope="module")
def truth():
    everything = data.load("digits", size=8, calibration=100)
    return dict(zip(everything.train.sources, everything.train.labels.tolist(), strict=True))


@pytest.fixture
def bundle(tmp_path, few):
    record = DataRecord(name="digits", sha256=few.sha256, calibration=100, seed=0, labels=LABELS)
    changes = {"data": record, "vote": VoteParameters(k=5)}
    return bundles.write_bundle(tmp_path / "run", Linear.random(8, 16, grey=80 / 255), few.class_names, **changes)


def believe(bundle, few, truth, sure):
    """A classifier that is right of every image but each fifth, and sure of those that `sure` marks."""
    sources = few.learned_from.sources
    right = np.array([truth[source] for source in sources])
    said = np.where(np.arange(len(right)) % 5 == 0, (right + 1) % 10, right)
    targets = np.full((len(right), 10), 0.1, dtype=np.float32)
    targets[sure] = 0.02 / 9
    targets[sure, said[sure]] = 0.98
    Beliefs(targets, few.sha256).save(bundle)
    return said


def test_what_the_classifier_is_sure_of_and_the_neighbours_confirm_becomes_exemplars(bundle, few, truth, capsys):
    sure = np.arange(len(few.learned_from)) % 3 > 0
    said = believe(bundle, few, truth, sure)
    assert main([str(bundle), "--pseudo", ".95", "--threads", "1"]) == 0
    opened = Bundle.open(bundle)
    table = opened.exemplars
    marked = table.flags & Flag.PSEUDO > 0
    assert list(table.sources[:LABELS]) == few.train.sources
    assert np.array_equal(table.labels[:LABELS], few.train.labels)
    assert not marked[:LABELS].any()
    assert marked[LABELS:].all()
    assert f"{marked.sum():,} under a label that nobody gave" in capsys.readouterr().out
    rows = {source: row for row, source in enumerate(few.learned_from.sources)}
    taken = np.array([rows[source] for source in table.sources.tolist()[LABELS:]])
    assert sure[taken].all()
    assert np.array_equal(table.labels[LABELS:], said[taken])
    # By hand: the vote of the labelled exemplars alone.
    build_index(bundle, quiet=True)
    alone = Bundle.open(bundle)
    assert len(alone.exemplars) == LABELS
    unlabelled = np.flatnonzero(sure[LABELS:]) + LABELS
    voted = alone.classifier().classify(few.learned_from.images[unlabelled]).labels
    assert taken.tolist() == unlabelled[voted == said[unlabelled]].tolist()
    assert 0 < len(taken) < len(unlabelled)


def test_nothing_that_is_wrong_and_contradicted_gets_in(bundle, few, truth):
    believe(bundle, few, truth, np.ones(len(few.learned_from), dtype=bool))
    build_index(bundle, pseudo=0.5, quiet=True)
    table = Bundle.open(bundle).exemplars
    right = np.array([truth[source] for source in table.sources.tolist()]) == table.labels
    assert right[:LABELS].all()
    # A fifth of what the classifier says is wrong; neighbours that are mostly right let little of it through.
    assert right[LABELS:].mean() > 0.95


def test_an_index_of_sure_images_repeats_and_changes_with_the_threshold(bundle, few, truth):
    believe(bundle, few, truth, np.arange(len(few.learned_from)) % 3 > 0)
    build_index(bundle, pseudo=0.95, quiet=True)
    first = read_manifest(bundle).files["exemplars.npz"]
    build_index(bundle, pseudo=0.985, quiet=True)
    assert len(Bundle.open(bundle).exemplars) == LABELS
    build_index(bundle, pseudo=0.95, quiet=True)
    assert read_manifest(bundle).files["exemplars.npz"] == first


def test_without_a_classifier_or_images_without_labels_it_is_refused(bundle, few, truth, tmp_path):
    with pytest.raises(IndexBuildError, match="has no classifier"):
        build_index(bundle, pseudo=0.95, quiet=True)
    Beliefs(np.full((len(few.learned_from), 10), 0.1, np.float32), "another set").save(bundle)
    with pytest.raises(IndexBuildError, match="is of other images"):
        build_index(bundle, pseudo=0.95, quiet=True)
    with pytest.raises(IndexBuildError, match="do not go together"):
        build_index(bundle, pseudo=0.95, labels="audited", quiet=True)
    with pytest.raises(IndexBuildError, match="probability in"):
        build_index(bundle, pseudo=1.0, quiet=True)
    everything = data.load("digits", size=8, calibration=100)
    record = DataRecord(name="digits", sha256=everything.sha256, calibration=100, seed=0)
    encoder = Linear.random(8, 16, grey=80 / 255)
    whole = bundles.write_bundle(tmp_path / "whole", encoder, everything.class_names, data=record)
    with pytest.raises(IndexBuildError, match="every training image has one"):
        build_index(whole, pseudo=0.95, quiet=True)


@pytest.mark.parametrize("beside", [["--data", "digits"], ["--out", "other", "--k", "3"], ["--recalibrate"]])
def test_beside_what_has_no_use_for_it_the_flag_is_refused(bundle, beside, capsys):
    assert main([str(bundle), "--pseudo", ".95", *beside]) == 2
    assert "--pseudo does nothing" in capsys.readouterr().err
