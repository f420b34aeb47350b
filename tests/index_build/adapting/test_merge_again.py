"""A set that is merged into a bundle adds no image that is an exemplar already."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.bundle import Bundle, read_manifest
from holdfast.bundle.calibration_set import CalibrationSet
from holdfast.bundle.exemplars import DIGEST_BYTES, Exemplars, Flag
from holdfast.bundle.sources import Sources
from holdfast.bundle.writer import BundleWriter
from holdfast.index_build.streaming import parts
from holdfast.index_build.streaming.known import KnownImages
from tests.bundles import COLOURS
from tests.index_build.adapting.test_adapt import digits, old, photos, run, same_but_for_command, write_folder

__all__ = ["digits", "old", "photos"]


def without_digests(directory):
    """As holdfast wrote bundles before it kept digests."""
    table = Bundle.open(directory).exemplars
    writer = BundleWriter.open(directory)
    before = Exemplars(table.ids, table.labels, table.sources.tolist(), table.flags)
    writer.add("exemplars.npz", before.save)
    writer.commit(read_manifest(directory))
    return directory


def same_exemplars(first, second):
    ours, theirs = Bundle.open(first), Bundle.open(second)
    assert ours.exemplars.ids.tolist() == theirs.exemplars.ids.tolist()
    assert ours.exemplars.labels.tolist() == theirs.exemplars.labels.tolist()
    assert ours.exemplars.sources == theirs.exemplars.sources
    np.testing.assert_array_equal(ours.index.export().embeddings, theirs.index.export().embeddings)
    assert ours.calibration_set.sources == theirs.calibration_set.sources
    assert ours.next_id == theirs.next_id


@pytest.mark.parametrize("digests", [True, False])
@pytest.mark.parametrize("words", [(), ("--half",), ("--index", "ivf")])
def test_merging_a_set_twice_is_merging_it_once(old, photos, words, digests, capsys):
    once, twice = old.with_name("once"), old.with_name("twice")
    assert run(old, "--data", photos, "--merge", "--out", once, *words) == 0
    assert read_manifest(once).index.data.already_there == 0
    if not digests:
        without_digests(once)
    capsys.readouterr()
    assert run(once, "--data", photos, "--merge", "--out", twice, *words) == 0
    added = len(Bundle.open(once).exemplars) - len(Bundle.open(old).exemplars)
    assert read_manifest(twice).index.data.already_there == added > 0
    same_exemplars(once, twice)
    said = capsys.readouterr()
    assert str(added) in said.err
    assert str(added) in said.out


def test_of_a_set_that_grew_only_what_is_new_is_added(old, photos, tmp_path):
    assert run(old, "--data", photos, "--merge", "--calibration", 0, "--out", tmp_path / "once") == 0
    once = Bundle.open(tmp_path / "once")
    there = once.exemplars.sources.tolist()[1297:]
    grown = tmp_path / "grown" / "train"
    for name in there:
        (grown / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / name, (grown / name).with_name(f"renamed-{(grown / name).name}"))
    write_folder(tmp_path / "more", COLOURS, per_class=4, seed=70)
    for image in sorted((tmp_path / "more").rglob("*.png")):
        shutil.copy(image, grown / image.parent.name / image.name)
    write_folder(tmp_path / "grown" / "test", COLOURS, per_class=2, seed=90)
    words = ("--data", tmp_path / "grown", "--merge", "--calibration", 0)
    assert run(tmp_path / "once", *words, "--out", tmp_path / "twice") == 0
    twice = Bundle.open(tmp_path / "twice")
    assert twice.manifest.index.data.already_there == len(there)
    new = twice.exemplars.sources.tolist()[len(once.exemplars) :]
    assert sorted(name.rsplit("/", 1)[-1] for name in new) == sorted([f"{n:03d}.png" for n in range(4)] * 3)
    start = once.next_id
    assert twice.exemplars.ids[len(once.exemplars) :].tolist() == list(range(start, start + 12))
    expected = once.encoder.embed(np.zeros((0, 8, 8, 3), np.uint8)).shape[1]
    assert twice.index.export().embeddings.shape == (len(once.exemplars) + 12, expected)


def test_an_image_under_another_label_keeps_the_label_that_it_has(old, photos, tmp_path):
    assert run(old, "--data", photos, "--merge", "--calibration", 0, "--out", tmp_path / "once") == 0
    once = Bundle.open(tmp_path / "once")
    red = next(name for name in once.exemplars.sources if name.startswith("red/"))
    other = write_folder(tmp_path / "other", COLOURS, per_class=12, seed=70)
    for split in ("train", "test"):
        (tmp_path / "split" / split).mkdir(parents=True)
    other.rename(tmp_path / "split" / "train" / "x")
    for name in COLOURS:
        (tmp_path / "split" / "train" / "x" / name).rename(tmp_path / "split" / "train" / name)
    (tmp_path / "split" / "train" / "x").rmdir()
    write_folder(tmp_path / "split" / "test", COLOURS, per_class=2, seed=90)
    shutil.copy(photos / red, tmp_path / "split" / "train" / "green" / "was-red.png")
    words = ("--data", tmp_path / "split", "--merge", "--calibration", 0)
    assert run(tmp_path / "once", *words, "--out", tmp_path / "twice") == 0
    twice = Bundle.open(tmp_path / "twice")
    assert twice.manifest.index.data.already_there == 1
    assert not any("was-red" in name for name in twice.exemplars.sources)
    assert len(twice.exemplars) == len(once.exemplars) + 36


def test_shards_that_are_merged_again_make_what_one_run_makes(old, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "ROWS", 10)
    assert run(old, "--data", photos, "--merge", "--out", tmp_path / "once") == 0
    assert run(tmp_path / "once", "--data", photos, "--merge", "--seed", 3, "--out", tmp_path / "whole") == 0
    works = [tmp_path / f"work-{number}" for number in (1, 2)]
    for number, work in enumerate(works, start=1):
        assert run(tmp_path / "once", "--data", photos, "--seed", 3, "--shard", f"{number}/2", "--out", work) == 0
    assert run("merge", *works, "--merge", "--out", tmp_path / "merged") == 0
    same_but_for_command(tmp_path / "whole", tmp_path / "merged")
    assert read_manifest(tmp_path / "whole").index.data.already_there > 0


def test_a_hardened_index_knows_the_images_that_were_attacked(old, photos, tmp_path):
    words = ("--data", photos, "--merge", "--harden", "0.5", "--harden-within", "linf:8/255")
    assert run(old, *words, "--out", tmp_path / "once") == 0
    attacked = (Bundle.open(tmp_path / "once").exemplars.flags & Flag.ATTACKED).sum()
    assert attacked > 0
    assert run(tmp_path / "once", *words, "--out", tmp_path / "twice") == 0
    same_exemplars(tmp_path / "once", tmp_path / "twice")


def test_what_is_new_is_hardened_beside_what_is_there(old, photos, tmp_path):
    assert run(old, "--data", photos, "--merge", "--out", tmp_path / "once") == 0
    more = write_folder(tmp_path / "more", COLOURS, seed=70)
    for image in sorted((photos / "red").iterdir()):
        shutil.copy(image, more / "red" / f"again-{image.name}")
    words = ("--data", more, "--merge", "--harden", "1", "--harden-within", "linf:8/255", "--choose-vote")
    assert run(tmp_path / "once", *words, "--out", tmp_path / "twice") == 0
    once, twice = Bundle.open(tmp_path / "once"), Bundle.open(tmp_path / "twice")
    kept = len(once.exemplars)
    assert twice.manifest.index.data.already_there > 0
    assert ((twice.exemplars.flags[kept:] & Flag.ATTACKED) > 0).all()
    assert not (twice.exemplars.flags[:kept] & Flag.ATTACKED).any()
    assert not any(name.startswith("red/again-") and name[10:] in once.exemplars.sources for name in twice.exemplars.sources)


@given(st.data())
def test_an_exemplar_is_known_by_its_digest_or_else_by_embedding_and_label(data):
    pixels = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=12))
    labels = np.array(data.draw(st.lists(st.integers(0, 1), min_size=len(pixels), max_size=len(pixels))))
    known = np.array(data.draw(st.lists(st.booleans(), min_size=len(pixels), max_size=len(pixels))))
    digests = np.zeros((len(pixels), 32), np.uint8)
    digests[:, 0], digests[:, 31] = np.array(pixels) + 1, 1
    embeddings = np.eye(6, dtype=np.float32)[pixels]
    kept = digests[:, :DIGEST_BYTES] * known[:, None].astype(np.uint8)
    table = Exemplars(np.arange(len(pixels)), labels, Sources.of("x" * len(pixels)), np.zeros(len(pixels), np.uint8), kept)
    nobody = CalibrationSet(np.zeros((0, 6), np.float32), np.zeros(0, np.int64), ())
    images = KnownImages.of(table, labels, embeddings, nobody, np.array([1, 0]))
    asked = np.array(data.draw(st.lists(st.integers(0, 5), max_size=12)), dtype=np.int64)
    theirs = np.array(data.draw(st.lists(st.integers(0, 1), min_size=len(asked), max_size=len(asked))), dtype=np.int64)
    new = np.zeros((len(asked), 32), np.uint8)
    new[:, 0], new[:, 31] = asked + 1, 1
    rows, stamps = np.arange(len(asked)), np.zeros((0, 3), np.int64)
    part = parts.EmbeddedPart(0, np.eye(6, dtype=np.float32)[asked], theirs, Sources.of("y" * len(asked)), new, rows, stamps)
    by_digest = {pixel for pixel, has in zip(pixels, known, strict=True) if has}
    alike = {(p, label) for p, label, has in zip(pixels, labels.tolist(), known, strict=True) if not has}
    expected = [a in by_digest or (a, 1 - label) in alike for a, label in zip(asked.tolist(), theirs.tolist(), strict=True)]
    assert images.there(part, "train").tolist() == expected
