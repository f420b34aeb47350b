"""A few images a class: all are exemplars, and credibility is calibrated by leaving out each once."""

import shutil

import numpy as np
import pytest
from PIL import Image

from holdfast.bundle import Bundle, read_manifest
from holdfast.errors import HoldfastError
from holdfast.evaluation.recorded import recorded_splits
from holdfast.evaluation.victim import check_fit
from holdfast.index_build.cli import main
from holdfast.model.vote import VoteParameters
from tests import bundles
from tests.bundles import COLOURS, Linear, coloured

SIDE, EACH = 8, 5


def write_classes(root, each, seed):
    for number, (name, colour) in enumerate(COLOURS.items()):
        folder = root / name
        folder.mkdir(parents=True)
        for row, image in enumerate(coloured(0, each, seed + number, side=SIDE, colours=[colour])):
            Image.fromarray(image).save(folder / f"{row:03d}.png")
    return root


@pytest.fixture
def encoder(tmp_path):
    """A bundle without an index, as an import leaves it."""
    bundles.write_bundle(tmp_path / "encoder", Linear.random(SIDE, 16, grey=80 / 255), ("a", "b"), vote=VoteParameters(k=15))
    return tmp_path / "encoder"


def run(*words):
    try:
        return main([*map(str, words), "--threads", "1"])
    except SystemExit as usage:
        return usage.code


def test_every_image_is_an_exemplar_and_credibility_is_calibrated_all_the_same(encoder, tmp_path, capsys):
    photos, out = write_classes(tmp_path / "photos", EACH, 0), tmp_path / "few"
    assert run(encoder, "--data", photos, "--few-shot", "--out", out) == 0
    assert "left out once" in " ".join(capsys.readouterr().out.split())
    bundle = Bundle.open(out)
    manifest = bundle.manifest
    assert len(bundle.exemplars.ids) == EACH * len(COLOURS)
    assert manifest.vote.k == EACH
    assert manifest.calibration.left_out.images == EACH * len(COLOURS)
    assert manifest.calibration.left_out.right > 0.8 * EACH * len(COLOURS)
    answers = bundle.classifier().classify(coloured(0, 9, 50, side=SIDE, colours=[COLOURS["red"]]))
    assert np.all((answers.credibility > 0) & (answers.credibility <= 1))
    assert [bundle.class_names[label] for label in answers.labels] == ["red"] * 9


def test_the_sets_own_test_part_is_what_it_is_evaluated_on(encoder, tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "few"
    write_classes(photos / "train", EACH, 0)
    write_classes(photos / "test", 4, 10)
    assert run(encoder, "--data", photos, "--few-shot", "--out", out) == 0
    splits = recorded_splits(read_manifest(out))
    assert (len(splits.train), len(splits.calibration), len(splits.test)) == (EACH * len(COLOURS), 0, 4 * len(COLOURS))
    assert run(encoder, "--data", photos / "train", "--few-shot", "--out", tmp_path / "none") == 0
    splits = recorded_splits(read_manifest(tmp_path / "none"))
    assert (len(splits.train), len(splits.calibration), len(splits.test)) == (EACH * len(COLOURS), 0, 0)
    with pytest.raises(HoldfastError, match="DIR/test/CLASS"):
        check_fit(Bundle.open(tmp_path / "none"), splits.test)


def test_it_is_calibrated_again_in_the_same_way(encoder, tmp_path):
    photos, out = write_classes(tmp_path / "photos", EACH, 0), tmp_path / "few"
    assert run(encoder, "--data", photos, "--few-shot", "--out", out) == 0
    before = read_manifest(out).calibration
    assert run(out, "--recalibrate") == 0
    assert read_manifest(out).calibration == before
    assert run(out, "--recalibrate", "--coverage", "0.5") == 0
    assert read_manifest(out).calibration.nonconformity == before.nonconformity
    assert read_manifest(out).calibration.wanted == 0.5


def test_shards_hold_out_as_little(encoder, tmp_path):
    photos = write_classes(tmp_path / "photos", EACH, 0)
    for number in (1, 2):
        words = ("--shard", f"{number}/2", "--out", tmp_path / f"part{number}")
        assert run(encoder, "--data", photos, "--few-shot", *words) == 0
    assert run("merge", tmp_path / "part1", tmp_path / "part2", "--out", tmp_path / "merged") == 0
    whole = tmp_path / "whole"
    assert run(encoder, "--data", photos, "--few-shot", "--out", whole) == 0
    assert read_manifest(tmp_path / "merged").calibration == read_manifest(whole).calibration


@pytest.mark.parametrize(("words", "said"), [(("--calibration", "3"), "--calibration"), (("--choose-vote",), "held out")])
def test_what_needs_images_that_are_held_out_is_refused(encoder, tmp_path, capsys, words, said):
    photos = write_classes(tmp_path / "photos", EACH, 0)
    assert run(encoder, "--data", photos, "--few-shot", *words) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.glob("encoder-*"))


def test_a_built_in_set_has_parts_of_its_own(encoder, capsys):
    assert run(encoder, "--data", "digits", "--few-shot") == 2
    assert "folders and tables" in " ".join(capsys.readouterr().err.split())


def test_one_image_a_class_is_a_nearest_neighbour(encoder, tmp_path):
    photos, out = write_classes(tmp_path / "photos", 1, 0), tmp_path / "few"
    assert run(encoder, "--data", photos, "--few-shot", "--out", out) == 0
    assert read_manifest(out).vote.k == 1
    shutil.rmtree(photos)
    labels = Bundle.open(out).classifier().classify(coloured(0, 3, 50, side=SIDE, colours=[COLOURS["green"]])).labels
    assert [Bundle.open(out).class_names[label] for label in labels] == ["green"] * 3
