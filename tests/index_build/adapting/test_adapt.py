"""New bundles beside old ones: other sets, other classes, the exemplars that are there."""

import csv
import shutil
import threading
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from holdfast import data
from holdfast.bundle import Bundle, read_manifest
from holdfast.bundle.exemplars import Flag
from holdfast.bundle.manifest import Accuracy, DataRecord
from holdfast.bundle.reader import HEAD
from holdfast.bundle.writer import BundleWriter
from holdfast.data import DataError, load_verified
from holdfast.errors import HoldfastError
from holdfast.index_build import build_index
from holdfast.index_build.cli import main
from holdfast.index_build.streaming import parts
from holdfast.model.encoder.onnx import OnnxEncoder
from holdfast.model.retrieval.base import bank_of
from holdfast.model.retrieval.table import RETRIEVERS, RetrieverKind
from holdfast.model.vote import VoteParameters
from tests import bundles, kinds
from tests.bundles import COLOURS, Linear, coloured
from tests.heads import head_of_means
from tests.shared import made_once
from tests.threads import replace_here

SIDE, DIM = 8, 8
MORE = {"cyan": (60, 200, 200), "magenta": (200, 60, 200)}


def write_folder(root, colours, per_class=30, seed=0):
    """A folder of class folders."""
    counts = per_class if isinstance(per_class, dict) else dict.fromkeys(colours, per_class)
    for number, (name, colour) in enumerate(colours.items()):
        folder = root / name
        folder.mkdir(parents=True)
        images = coloured(0, counts[name], seed + number, side=SIDE, colours=[colour])
        for row, image in enumerate(images):
            Image.fromarray(image).save(folder / f"{row:03d}.png")
    return root


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", size=SIDE, calibration=100)


@pytest.fixture
def old(tmp_path, tmp_path_factory, digits):
    """A complete bundle of the digits, a copy for each test."""
    made = made_once(tmp_path_factory, "digits-indexed", lambda directory: write_indexed(directory, digits))
    return shutil.copytree(made, tmp_path / "old")


def write_indexed(directory, digits):
    record = DataRecord(name="digits", sha256=digits.sha256, calibration=100, seed=0)
    changes = {"data": record, "vote": VoteParameters(k=5)}
    bundles.write_bundle(directory, Linear.random(SIDE, 16, grey=80 / 255), digits.class_names, **changes)
    build_index(directory, digits, quiet=True)
    accuracy = Accuracy(clean=0.9, robust=0.5, norm="linf", epsilon=0.1, attack="none", images=10)
    writer = BundleWriter.open(directory)
    writer.add("report/index.html", lambda path: path.write_text("measured"))
    embeddings = bank_of(Bundle.open(directory).index).embeddings
    writer.add(HEAD, head_of_means(embeddings, Bundle.open(directory).exemplars.labels, 10).save)
    writer.commit(read_manifest(directory).model_copy(update={"accuracy": accuracy}))


@pytest.fixture
def photos(tmp_path):
    return write_folder(tmp_path / "photos", COLOURS)


def run(*words):
    try:
        return main([*map(str, words), "--threads", "1"])
    except SystemExit as usage:
        return usage.code


def files(directory):
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def answered(directory, images, names):
    """The share of images that are answered with these class names."""
    bundle = Bundle.open(directory)
    labels = bundle.classifier().classify(images).labels
    return np.mean([bundle.class_names[label] == name for label, name in zip(labels, names, strict=True)])


def test_an_encoder_gets_another_set_without_training(old, photos, capsys):
    before = files(old)
    assert run(old, "--data", photos) == 0
    assert files(old) == before
    assert Bundle.open(old.with_name("old-photos")).head is None
    new = old.with_name("old-photos")
    said = capsys.readouterr()
    assert "red" in said.err
    assert "test images of" in said.out
    bundle = Bundle.open(new)
    manifest = bundle.manifest
    assert manifest.class_names == ("blue", "green", "red")
    assert manifest.accuracy is None
    assert not (new / "report").exists()
    assert sorted(path.name for path in new.parent.iterdir()) == ["old", "old-photos", "photos"]
    splits = load_verified(manifest)
    assert len(splits.train) == manifest.index.exemplars == bundle.index.size
    assert bundle.exemplars.sources.tolist() == splits.train.sources
    assert len(splits.test) == manifest.index.data.test_images == 18
    assert len(bundle.calibration_set) == len(splits.calibration) == manifest.index.data.calibration == 7
    assert manifest.calibration.coverage >= 0.95
    names = [manifest.class_names[label] for label in splits.test.labels]
    assert answered(new, splits.test.images, names) > 0.9
    assert (new / "encoder.onnx").read_bytes() == before["encoder.onnx"]


def test_what_is_held_out_is_as_asked(old, photos, tmp_path):
    assert run(old, "--data", photos, "--out", tmp_path / "share", "--calibration", "0.25", "--seed", "3") == 0
    assert run(old, "--data", photos, "--out", tmp_path / "number", "--calibration", "12") == 0
    assert len(Bundle.open(tmp_path / "share").calibration_set) == 18
    assert read_manifest(tmp_path / "share").index.data.seed == 3
    assert len(Bundle.open(tmp_path / "number").calibration_set) == 12
    assert len(load_verified(read_manifest(tmp_path / "number")).calibration) == 12


def test_a_class_may_have_two_images(old, tmp_path, capsys):
    counts = dict.fromkeys(COLOURS, 20) | {"blue": 2}
    folder = write_folder(tmp_path / "rare", COLOURS, counts)
    assert run(old, "--data", folder, "--out", tmp_path / "new") == 0
    manifest = read_manifest(tmp_path / "new")
    exemplars = np.bincount(Bundle.open(tmp_path / "new").exemplars.labels, minlength=3)
    assert exemplars[0] >= 1
    assert 2 * exemplars[0] > manifest.vote.k
    assert run(old, "--data", folder, "--out", tmp_path / "greedy", "--k", "15") == 0
    assert read_manifest(tmp_path / "greedy").vote.k == 15
    assert "out of reach" in capsys.readouterr().err


def test_a_set_is_merged_with_what_is_there(old, photos, digits, tmp_path):
    new = tmp_path / "both"
    assert run(old, "--data", photos, "--merge", "--out", new) == 0
    bundle, before = Bundle.open(new), Bundle.open(old)
    assert bundle.class_names == (*digits.class_names, "blue", "green", "red")
    kept = len(before.exemplars)
    assert bundle.exemplars.ids.tolist() == list(range(len(bundle.exemplars)))
    assert bundle.exemplars.sources[:kept] == before.exemplars.sources.tolist()
    np.testing.assert_array_equal(bundle.index.export().embeddings[:kept], before.index.export().embeddings)
    assert len(bundle.calibration_set) == 100 + 7
    assert bundle.manifest.index.data.merged
    digit_names = [digits.class_names[label] for label in digits.test.labels]
    assert answered(new, digits.test.images, digit_names) > 0.8
    test = load_verified(bundle.manifest).test
    assert test.class_names == bundle.class_names
    assert answered(new, test.images, [bundle.class_names[label] for label in test.labels]) > 0.9


def test_ids_of_exemplars_that_are_gone_are_not_given_again(old, photos, tmp_path):
    manifest = read_manifest(old)
    assert manifest.index.next_id == 1297
    BundleWriter.open(old).commit(manifest.model_copy(update={"index": manifest.index.model_copy(update={"next_id": 2000})}))
    assert run(old, "--k", 3, "--out", tmp_path / "kept") == 0
    assert read_manifest(tmp_path / "kept").index.next_id == 2000
    assert run(tmp_path / "kept", "--data", photos, "--merge", "--out", tmp_path / "both") == 0
    both = Bundle.open(tmp_path / "both")
    new = len(both.exemplars) - 1297
    assert both.exemplars.ids[1297:].tolist() == list(range(2000, 2000 + new))
    assert both.next_id == both.manifest.index.next_id == 2000 + new


def test_a_bundle_that_does_not_say_the_next_id_goes_on_after_its_largest(old, photos, tmp_path):
    manifest = read_manifest(old)
    BundleWriter.open(old).commit(manifest.model_copy(update={"index": manifest.index.model_copy(update={"next_id": None})}))
    assert run(old, "--data", photos, "--merge", "--out", tmp_path / "both") == 0
    both = Bundle.open(tmp_path / "both")
    assert both.exemplars.ids.tolist() == list(range(len(both.exemplars)))
    assert both.next_id == len(both.exemplars)


def test_more_images_of_known_classes_join_them(old, photos, tmp_path):
    assert run(old, "--data", photos, "--out", tmp_path / "first") == 0
    more = write_folder(tmp_path / "more", {"red": COLOURS["red"], **MORE}, seed=50)
    assert run(tmp_path / "first", "--data", more, "--merge", "--out", tmp_path / "second", "--k", "3") == 0
    first, second = Bundle.open(tmp_path / "first"), Bundle.open(tmp_path / "second")
    assert second.class_names == ("blue", "green", "red", "cyan", "magenta")
    assert second.manifest.vote.k == 3
    red = second.class_names.index("red")
    assert np.sum(second.exemplars.labels == red) > np.sum(first.exemplars.labels == first.class_names.index("red"))
    again = build_again(tmp_path / "second")
    assert "--data" in again


def build_again(directory):
    with pytest.raises(HoldfastError) as refused:
        build_index(directory, quiet=True)
    return str(refused.value)


def test_classes_are_renamed_made_one_and_ordered_without_images(old, digits, tmp_path):
    words = ["--rename", "0=round", "--rename", "6=round", "--rename", "8=round", "--order", "round,9"]
    assert run(old, *words, "--out", tmp_path / "new") == 0
    new = Bundle.open(tmp_path / "new")
    assert new.class_names == ("round", "9", "1", "2", "3", "4", "5", "7")
    labels = Bundle.open(old).exemplars.labels
    assert np.sum(new.exemplars.labels == 0) == np.isin(labels, [0, 6, 8]).sum()
    assert new.manifest.calibration is not None
    test = load_verified(new.manifest).test
    assert len(test) == len(digits.test)
    assert answered(tmp_path / "new", test.images, [new.class_names[label] for label in test.labels]) > 0.8
    # And once more: what the set calls "0" is now called "ring".
    assert Bundle.open(old).head is not None
    assert new.head is None  # it tells the classes of before apart
    assert run(tmp_path / "new", "--rename", "round=ring", "--out", tmp_path / "newer") == 0
    newer = read_manifest(tmp_path / "newer")
    assert load_verified(newer).test.class_names == newer.class_names == ("ring", "9", "1", "2", "3", "4", "5", "7")


def test_classes_of_a_new_set_are_renamed(old, photos, tmp_path):
    assert run(old, "--data", photos, "--rename", "red=warm", "--rename", "green=cool", "--rename", "blue=cool", "--k", 3) == 0
    new = Bundle.open(old.with_name("old-photos"))
    assert new.class_names == ("cool", "warm")
    splits = load_verified(new.manifest)
    np.testing.assert_array_equal(new.exemplars.labels, splits.train.labels)


def test_another_k_and_another_rounding_need_no_images(old, tmp_path):
    assert run(old, "--k", 9, "--half", "--out", tmp_path / "new") == 0
    new, before = Bundle.open(tmp_path / "new"), Bundle.open(old)
    assert new.manifest.vote.k == 9
    assert "float16" in str(new.index)
    assert new.head is not None  # of the same classes
    np.testing.assert_allclose(new.index.export().embeddings, before.index.export().embeddings, atol=1e-3)
    assert new.manifest.index.data is None


def test_flagged_exemplars_are_named_by_class_and_file(old, tmp_path, capsys):
    folder = write_folder(tmp_path / "spoiled", COLOURS)
    (folder / "red" / "000.png").rename(folder / "blue" / "zzz.png")
    assert run(old, "--data", folder, "--out", tmp_path / "new", "--calibration", "0") == 0
    flagged = Bundle.open(tmp_path / "new").exemplars.flags & Flag.DISAGREES > 0
    with (tmp_path / "new" / "flagged.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == flagged.sum()
    assert {"blue/zzz.png"} <= {row["source"] for row in rows}
    assert "blue: blue/zzz.png" in capsys.readouterr().out


class PowerCutError(Exception):
    pass


@pytest.mark.parametrize("batches", [0, 3, 6])
def test_a_run_that_is_cut_short_continues_and_changes_nothing_else(old, photos, tmp_path, monkeypatch, batches):
    assert run(old, "--data", photos, "--out", tmp_path / "whole", "--batch-size", 10) == 0
    monkeypatch.setattr(parts, "ROWS", 10)
    assert run(old, "--data", photos, "--out", tmp_path / "pieces", "--batch-size", 10) == 0
    before, embed, calls, ours = files(old), OnnxEncoder.embed, [], threading.get_ident()

    def failing(self, images):
        if threading.get_ident() == ours:
            if len(calls) == batches:
                raise PowerCutError
            calls.append(len(images))
        return embed(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(OnnxEncoder, "embed", failing)
        with pytest.raises(PowerCutError):
            run(old, "--data", photos, "--out", tmp_path / "new", "--batch-size", 10)
    assert files(old) == before
    assert not (tmp_path / "new").exists()
    assert run(old, "--data", photos, "--out", tmp_path / "new", "--batch-size", 10) == 0
    for name in ("pieces", "whole"):
        same_but_for_command(tmp_path / name, tmp_path / "new")


def same_but_for_command(one, other):
    first, second = read_manifest(one), read_manifest(other)
    assert first.files == second.files
    unlike = {"created": "", "name": "", "index": first.index.model_copy(update={"command": ""})}
    assert first.model_copy(update=unlike) == second.model_copy(
        update={"created": "", "name": "", "index": second.index.model_copy(update={"command": ""})}
    )


def test_several_processes_make_the_same_bundle(old, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "ROWS", 10)
    assert run(old, "--data", photos, "--out", tmp_path / "one", "--batch-size", 10) == 0
    assert run(old, "--data", photos, "--out", tmp_path / "two", "--batch-size", 10, "--processes", 2) == 0
    same_but_for_command(tmp_path / "one", tmp_path / "two")


def test_images_that_cannot_be_read_are_named_or_left_out(old, photos, tmp_path, capsys):
    (photos / "red" / "007.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 99)
    assert run(old, "--data", photos, "--out", tmp_path / "new") == 2
    assert "red/007.png" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert run(old, "--data", photos, "--out", tmp_path / "new", "--skip-unreadable") == 0
    assert "red/007.png" in capsys.readouterr().err
    assert "red/007.png" not in set(Bundle.open(tmp_path / "new").exemplars.sources)
    assert load_verified(read_manifest(tmp_path / "new")).test.class_names == ("blue", "green", "red")


def test_other_test_images_are_found_out(old, photos, tmp_path):
    assert run(old, "--data", photos, "--out", tmp_path / "new") == 0
    manifest = read_manifest(tmp_path / "new")
    held = load_verified(manifest).test.sources[0]
    Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(photos / held)
    with pytest.raises(DataError, match="not those that were held out"):
        load_verified(manifest)


def test_a_vote_is_chosen_and_exemplars_hardened_on_another_set(old, photos, tmp_path):
    words = ["--choose-vote", "--harden", "0.2", "--merge", "--calibration", "0.3"]
    assert run(old, "--data", photos, "--out", tmp_path / "new", *words) == 0
    new, kept = Bundle.open(tmp_path / "new"), len(Bundle.open(old).exemplars)
    attacked = np.flatnonzero(new.exemplars.flags & Flag.ATTACKED)
    assert len(attacked) == round(0.2 * (len(new.exemplars) - kept))
    assert attacked.min() >= kept
    assert new.manifest.vote.weighting == "exponential"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "PHOTOS", "--out", "OLD"], "stays as it is"),
        (["--data", "PHOTOS", "--out", "OLD/inside"], "stays as it is"),
        (["--data", "PHOTOS", "--out", "PHOTOS"], "is there already"),
        (["--data", "PHOTOS", "--rename", "cow=x"], "no class cow"),
        (["--data", "PHOTOS", "--rename", "red=x", "--rename", "green=x", "--rename", "blue=x"], "one class"),
        (["--data", "PHOTOS", "--k", "4000"], "--k 4000"),
        (["--data", "PHOTOS", "--k", "5000"], "at most 4096"),
        (["--data", "PHOTOS", "--calibration", "1.5"], "--calibration"),
        (["--data", "PHOTOS", "--calibration", "-3"], "at least 0"),
        (["--data", "PHOTOS", "--batch-size", "-1"], "at least 1"),
        (["--data", "PHOTOS", "--canary", "-1"], "at least 0"),
        (["--data", "PHOTOS", "--prior-correction", "2"], "at most 1"),
        (["--data", "PHOTOS", "--coverage", "nan"], "above 0"),
        (["--data", "PHOTOS", "--harden", "-0.1"], "at least 0"),
        (["--data", "PHOTOS", "--max-pixels", "0"], "at least 1"),
        (["--max-pixels", "99", "--out", "x"], "--data"),
        (["--data", "nowhere"], "nowhere"),
        (["--merge"], "--data"),
        (["--out", "x", "--harden", "0.5"], "--data"),
        (["--data", "PHOTOS", "--shard", "1/2"], "--out"),
        (["--recalibrate", "--data", "PHOTOS"], "--data does nothing"),
        (["--data", "PHOTOS", "--index", "nsw"], "auto, flat, hnsw, ivf, milvus"),
        (["--recalibrate", "--k", "3"], "--k does nothing"),
        (["--recalibrate", "--out", "x"], "--out does nothing"),
        (["--recalibrate", "--rename", "1=one"], "--rename does nothing"),
        (["--data", "PHOTOS", "--shard", "1/2", "--out", "x", "--k", "3"], "--k does nothing"),
        (["--data", "PHOTOS", "--shard", "1/2", "--out", "x", "--merge"], "--merge does nothing"),
        (["--data-dir", "PHOTOS", "--out", "x"], "--data-dir does nothing"),
    ],
)
def test_what_makes_no_bundle_is_refused_in_a_sentence(old, photos, words, said, capsys):
    before = files(old)
    assert run(old, *(word.replace("PHOTOS", str(photos)).replace("OLD", str(old)) for word in words)) == 2
    assert said in capsys.readouterr().err
    assert files(old) == before


def test_a_folder_of_one_class_is_refused(old, tmp_path, capsys):
    folder = write_folder(tmp_path / "one", {"red": COLOURS["red"]})
    assert run(old, "--data", folder, "--out", tmp_path / "new") == 2
    assert "two" in capsys.readouterr().err


def test_a_second_run_for_the_same_bundle_is_refused(old, photos, tmp_path, monkeypatch, capsys):
    statuses = []

    def during(self, images):
        monkeypatch.undo()
        statuses.append(run(old, "--data", photos, "--out", tmp_path / "new"))
        return self.embed(images)

    replace_here(monkeypatch, OnnxEncoder, "embed", during)
    assert run(old, "--data", photos, "--out", tmp_path / "new") == 0
    assert statuses == [2]
    assert "another process" in capsys.readouterr().err


def test_a_new_bundle_has_a_canary_of_the_set_that_comes_in(old, photos, tmp_path):
    assert run(old, "--data", photos, "--out", tmp_path / "new") == 0
    assert run(old, "--data", photos, "--out", tmp_path / "both", "--merge", "--canary", "6") == 0
    assert run(old, "--data", photos, "--out", tmp_path / "none", "--canary", "0") == 0
    new, both = (Bundle.open(tmp_path / name) for name in ("new", "both"))
    assert len(new.canary_set) == 18  # the whole test part
    assert len(both.canary_set) == 6
    assert Bundle.open(tmp_path / "none").canary_set is None
    for bundle in (new, both):
        canary = bundle.canary_set
        assert canary.class_names == bundle.class_names
        np.testing.assert_array_equal(canary.answers, bundle.classifier().classify(canary.images).labels)
        assert canary.clean_accuracy > 0.8
        assert len(canary.attacked) == len(canary)


def test_a_canary_stays_where_the_exemplars_stay(old, photos, tmp_path):
    assert run(old, "--data", photos, "--out", tmp_path / "first") == 0
    assert run(tmp_path / "first", "--rename", "red=warm", "--order", "warm", "--k", "3", "--out", tmp_path / "second") == 0
    first, second = (Bundle.open(tmp_path / name).canary_set for name in ("first", "second"))
    np.testing.assert_array_equal(first.images, second.images)
    names = [{"red": "warm"}.get(first.class_names[label], first.class_names[label]) for label in first.labels]
    assert [second.class_names[label] for label in second.labels] == names
    assert second.clean_accuracy > 0.8


def test_votes_are_corrected_for_the_frequencies_of_the_new_index(old, tmp_path):
    folder = write_folder(tmp_path / "skewed", COLOURS, {name: 60 if name == "red" else 6 for name in COLOURS})
    words = ["--data", folder, "--k", "15", "--canary", "0"]
    assert run(old, *words, "--out", tmp_path / "plain") == 0
    assert run(old, *words, "--out", tmp_path / "corrected", "--prior-correction", "1") == 0
    plain, corrected = (Bundle.open(tmp_path / name) for name in ("plain", "corrected"))
    counts = np.bincount(corrected.exemplars.labels)
    assert plain.manifest.vote.class_weights == ()
    assert corrected.manifest.vote.prior_correction == 1
    np.testing.assert_allclose(corrected.manifest.vote.class_weights, counts.min() / counts)
    grey = np.random.default_rng(0).integers(0, 256, (50, SIDE, SIDE, 3), dtype=np.uint8)  # of no class in particular
    before, after = (bundle.classifier().classify(grey) for bundle in (plain, corrected))
    red = corrected.class_names.index("red")
    assert (after.probabilities[:, red] <= before.probabilities[:, red]).all()
    assert np.mean(after.labels == red) < np.mean(before.labels == red)
    # What is indexed again keeps the power, and weighs by the exemplars that it then has.
    more = write_folder(tmp_path / "more", {"blue": COLOURS["blue"], **MORE}, 30, seed=50)
    words = ["--data", more, "--merge", "--out", tmp_path / "again", "--canary", "0"]
    assert run(tmp_path / "corrected", *words) == 0
    again = Bundle.open(tmp_path / "again")
    counts = np.bincount(again.exemplars.labels)
    np.testing.assert_allclose(again.manifest.vote.class_weights, counts.min() / counts)


def test_the_plan_says_out_of_reach_of_the_vote_that_there_will_be(old, tmp_path, capsys):
    folder = write_folder(tmp_path / "rare", COLOURS, {name: 3 if name == "blue" else 40 for name in COLOURS})
    words = ["--data", folder, "--k", "15", "--canary", "0"]
    assert run(old, *words, "--out", tmp_path / "equal") == 0
    assert "out of reach" in capsys.readouterr().err
    assert run(old, *words, "--out", tmp_path / "corrected", "--prior-correction", "1") == 0
    assert "out of reach" not in capsys.readouterr().err


class Shelf(kinds.SealedIndex):
    """An index that leaves something behind when it is built."""

    kind = "shelf"
    left: ClassVar[list["Shelf"]] = []

    @classmethod
    def build(cls, bank):
        made = super().build(bank)
        cls.left.append(made)
        return made

    def discard(self):
        self.left.remove(self)


@pytest.fixture
def shelf(monkeypatch):
    kind = RetrieverKind(f"{__name__}:Shelf", files=("index.shelf",), extra="serve")
    monkeypatch.setitem(RETRIEVERS, "shelf", kind)
    monkeypatch.setattr(Shelf, "left", [])
    return Shelf.left


STEPS = ["finish.disagreement_flags", "finish.calibrated", "finish.Exemplars.save", "adapting.run.add_canary"]


@pytest.mark.parametrize("step", STEPS)
def test_an_index_elsewhere_is_taken_back_where_a_later_step_fails(old, photos, monkeypatch, shelf, step):
    def failing(*_, **__):
        raise PowerCutError

    words = [old, "--data", photos, "--index", "shelf"]
    with monkeypatch.context() as patch:
        patch.setattr(f"holdfast.index_build.{step}", failing)
        with pytest.raises(PowerCutError):
            run(*words)
    assert shelf == []
    assert run(*words) == 0
    assert len(shelf) == 1


def test_so_is_one_of_the_encoders_own_set(old, monkeypatch, shelf):
    def failing(*_, **__):
        raise PowerCutError

    monkeypatch.setattr("holdfast.index_build.build.BundleWriter.commit", failing)
    with pytest.raises(PowerCutError):
        build_index(old, kind="shelf", quiet=True)
    assert shelf == []
