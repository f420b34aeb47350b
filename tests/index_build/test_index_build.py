import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from holdfast import data
from holdfast.bundle import Bundle, BundleWriter, read_manifest
from holdfast.bundle.exemplars import Flag
from holdfast.bundle.manifest import Accuracy, DataRecord
from holdfast.data import LabelledImages, Splits
from holdfast.errors import BundleError
from holdfast.index_build import IndexBuildError, build_index
from holdfast.index_build.calibrate import recalibrate
from holdfast.index_build.cli import main
from holdfast.index_build.streaming import parts
from holdfast.model.encoder.onnx import OnnxEncoder
from holdfast.model.retrieval.approximate.ivf import IvfIndex
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.retrieval.table import RETRIEVERS
from holdfast.model.vote import VoteParameters
from tests import bundles, kinds
from tests.bundles import Linear
from tests.threads import replace_here

DIM, K = 16, 5


@pytest.fixture(scope="session")
def digits():
    return data.load("digits", size=8, calibration=100)


def write_bundle(directory, splits, k=K, *, gradient=True, **record):
    """Projects the centred pixels at random: digits of a class stay near each other."""
    known = {"name": "digits", "sha256": splits.sha256, "calibration": len(splits.calibration), "seed": 0, **record}
    encoder = Linear.random(splits.train.images.shape[1], DIM, grey=80 / 255)
    changes = {"data": DataRecord(**known), "vote": VoteParameters(k=k)}
    return bundles.write_bundle(directory, encoder, splits.class_names, gradient=gradient, **changes)


@pytest.fixture(params=kinds.KINDS)
def kind(request):
    with pytest.MonkeyPatch.context() as patch:  # of its own: some tests undo theirs half-way
        kinds.register(patch)
        yield request.param


@pytest.fixture
def build(kind):
    """Builds an index of each kind."""
    return partial(build_index, kind=kind, quiet=True)


@pytest.fixture
def bundle(tmp_path, digits):
    return write_bundle(tmp_path / "bundle", digits)


def files(directory):
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_bundle_is_completed_and_serves(bundle, digits, capsys):
    assert main([str(bundle), "--threads", "1"]) == 0
    shown = capsys.readouterr().out
    assert "1,297 of 10 classes" in shown
    opened = Bundle.open(bundle)
    record = opened.manifest.index
    assert record.recall_at_k == 1
    assert record.command == f"python -m index_build {bundle} --threads 1"
    assert opened.exemplars.sources.tolist() == digits.train.sources
    assert np.array_equal(opened.exemplars.labels, digits.train.labels)
    bank = opened.index.export()
    np.testing.assert_allclose(bank.embeddings, opened.encoder.embed(digits.train.images), atol=1e-6)
    assert bank.ids.tolist() == list(range(1297))
    assert record.disagreement_ratio == np.mean((opened.exemplars.flags & Flag.DISAGREES) > 0)
    answers = opened.classifier().classify(digits.test.images)
    assert np.mean(answers.labels == digits.test.labels) > 0.8
    calibration = opened.manifest.calibration
    assert len(calibration.nonconformity) == 100
    assert calibration.coverage >= 0.95
    canary = opened.canary_set
    assert len(canary) == 32
    assert np.array_equal(canary.answers, opened.classifier().classify(canary.images).labels)
    assert sorted(path.name for path in bundle.iterdir()) == [
        "calibration.npz",
        "canary.npz",
        "encoder.onnx",
        "exemplars.npz",
        "flagged.csv",
        "gradient.onnx",
        "index.faiss",
        "manifest.json",
    ]


def test_an_approximate_index_is_measured_and_replaces_another_kind(bundle, digits, capsys):
    build_index(bundle, digits, quiet=True)
    exact = Bundle.open(bundle)
    assert main([str(bundle), "--threads", "1", "--index", "ivf"]) == 0
    assert "ivf" in capsys.readouterr().out
    opened = Bundle.open(bundle)
    record = opened.manifest.index
    assert (record.kind, opened.index.kind, exact.manifest.index.kind) == ("ivf", "ivf", "flat")
    assert record.recall_at_k > 0.9
    assert record.parameters == opened.index.parameters
    assert record.vote_agreement.images == 100
    assert record.vote_agreement.alike / 100 >= 0.999
    assert "asked for" in record.reason
    assert (bundle / "index.ivf").is_file()
    assert not (bundle / "index.faiss").exists()
    assert "index.faiss" not in opened.manifest.files
    assert opened.manifest.calibration.coverage >= 0.95
    answers = opened.classifier().classify(digits.test.images)
    assert np.mean(answers.labels == exact.classifier().classify(digits.test.images).labels) > 0.98
    assert np.isfinite(answers.soft_margin).all()  # by the prototypes that it keeps
    build_index(bundle, digits, quiet=True)
    assert Bundle.open(bundle).index.kind == "flat"
    assert not (bundle / "index.ivf").exists()


def test_auto_takes_what_fits_and_says_why(bundle, digits, monkeypatch, capsys):
    assert main([str(bundle), "--threads", "1", "--index", "auto"]) == 0
    record = read_manifest(bundle).index
    assert (record.kind, record.vote_agreement) == ("flat", None)
    assert record.reason in " ".join(capsys.readouterr().out.replace("│", " ").split())
    monkeypatch.setattr("holdfast.model.retrieval.approximate.choice.FLAT_PRODUCTS", 1000)
    large = build_index(bundle, digits, kind="auto", half=True, quiet=True)
    assert large.kind == "hnsw"
    opened = Bundle.open(bundle)
    assert (opened.index.kind, opened.index.parameters) == ("hnsw", large.parameters)
    assert large.vote_agreement.alike >= 0.999 * large.vote_agreement.images
    assert opened.manifest.calibration.coverage >= 0.95


def test_a_vote_is_chosen_for_an_index_that_hands_nothing_out(bundle, digits, monkeypatch):
    kinds.register(monkeypatch)
    build_index(bundle, digits, kind="sealed", choose_vote=True, quiet=True)
    manifest = Bundle.open(bundle).manifest
    assert manifest.vote.weighting == "exponential"
    assert manifest.surrogate_tau == manifest.vote.temperature


def test_kinds_that_cannot_be_built_are_refused_before_anything_is_embedded(bundle, digits, capsys):
    before = files(bundle)
    with pytest.raises(BundleError, match="crystal-ball"):
        build_index(bundle, digits, kind="crystal-ball", quiet=True)
    assert main([str(bundle), "--index", "crystal-ball"]) == 2
    assert "flat" in capsys.readouterr().err
    assert main([str(bundle), "--index", "ivf", "--half"]) == 2
    assert "--half" in capsys.readouterr().err
    assert files(bundle) == before


def test_an_exact_index_that_misses_neighbours_is_not_served(bundle, digits, monkeypatch):
    monkeypatch.setitem(RETRIEVERS, "ivf", replace(RETRIEVERS["ivf"], exact=True))
    monkeypatch.setattr(IvfIndex, "search", lambda index, queries, k: FlatIndex.build(index.export()).search(-queries, k))
    with pytest.raises(IndexBuildError, match="found only"):
        build_index(bundle, digits, kind="ivf", quiet=True)
    assert not (bundle / "index.ivf").exists()


def test_half_precision_serves_the_same_and_takes_less(bundle, digits):
    build_index(bundle, digits, quiet=True)
    whole, size = Bundle.open(bundle), (bundle / "index.faiss").stat().st_size
    build_index(bundle, digits, half=True, quiet=True)
    half = Bundle.open(bundle)
    assert "float16" in str(half.index)
    assert (bundle / "index.faiss").stat().st_size < size
    images = digits.test.images
    same = half.classifier().classify(images).labels == whole.classifier().classify(images).labels
    assert same.mean() > 0.99


def test_building_twice_gives_the_same_bytes(build, bundle, digits):
    build(bundle, digits)
    first = files(bundle)
    build(bundle, digits, batch_size=100)
    second = files(bundle)
    assert first["exemplars.npz"] == second["exemplars.npz"]
    for name in read_manifest(bundle).index_files:
        assert first[name] == second[name]


class PowerCutError(Exception):
    pass


@pytest.mark.parametrize(
    ("kind", "batches"),
    [*((kind, 9) for kind in kinds.KINDS), *((kinds.KINDS[0], at) for at in (1, 10, 25))],
    indirect=["kind"],
)
def test_a_run_that_is_cut_short_continues(build, bundle, digits, monkeypatch, batches):
    embed, calls, counted = OnnxEncoder.embed, [], []

    def failing(self, images):
        if len(calls) == batches:
            raise PowerCutError
        calls.append(len(images))
        return embed(self, images)

    def counting(self, images):
        counted.append(len(images))
        return embed(self, images)

    before = files(bundle)
    monkeypatch.setattr(parts, "ROWS", 200)
    replace_here(monkeypatch, OnnxEncoder, "embed", failing)
    with pytest.raises(PowerCutError):
        build(bundle, digits, batch_size=50)
    after = files(bundle)
    assert {name: content for name, content in after.items() if not name.startswith(".index_build/")} == before
    finished = sum(name.endswith(".npz") for name in after if name.startswith(".index_build/"))
    assert finished == batches // 4

    replace_here(monkeypatch, OnnxEncoder, "embed", counting)
    build(bundle, digits, batch_size=50)
    assert sum(counted) == len(digits.train) - 200 * finished + len(digits.calibration)
    monkeypatch.undo()
    resumed = files(bundle)
    build(bundle, digits, batch_size=50)
    assert files(bundle) == resumed


def test_parts_of_another_encoder_or_damaged_ones_are_not_used(build, bundle, digits, monkeypatch):
    monkeypatch.setattr(parts, "ROWS", 200)
    monkeypatch.setattr(parts.PartsFolder, "remove", lambda self: None)
    build(bundle, digits)
    right = files(bundle)
    monkeypatch.undo()
    monkeypatch.setattr(parts, "ROWS", 200)
    folder = bundle / ".index_build"
    (folder / "part-000001.npz").write_bytes(b"cut short")
    damaged = bytearray((folder / "part-000002.npz").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (folder / "part-000002.npz").write_bytes(damaged)
    (folder / "part-000003.npz").write_bytes((folder / "part-000004.npz").read_bytes())
    build(bundle, digits)
    assert files(bundle) == {name: right[name] for name in right if not name.startswith(".index_build/")}

    folder.mkdir()
    header = json.loads(right[".index_build/header.json"])
    header["identity"]["encoder"] = "0" * 64
    (folder / "header.json").write_text(json.dumps(header))
    (folder / "part-000000.npz").write_bytes(right[".index_build/part-000001.npz"])
    build(bundle, digits)
    for name in read_manifest(bundle).index_files:
        assert files(bundle)[name] == right[name]


def test_another_set_is_refused_with_both_hashes(build, bundle, digits, capsys):
    other = data.load("digits", size=8, calibration=100, seed=1)
    before = files(bundle)
    with pytest.raises(IndexBuildError, match=f"{other.sha256}.*{digits.sha256}.*--data-dir"):
        build(bundle, other)
    assert files(bundle) == before


def test_the_program_exits_with_2_and_says_what_to_do(tmp_path, digits, capsys):
    write_bundle(tmp_path / "wrong", digits, seed=1)
    assert main([str(tmp_path / "wrong")]) == 2
    assert "this is not the digits set" in capsys.readouterr().err
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "holdfast train" in capsys.readouterr().err
    write_bundle(tmp_path / "fine", digits)
    with pytest.raises(SystemExit):
        main([str(tmp_path / "fine"), "--coverage", "1.5"])
    assert "--coverage" in capsys.readouterr().err


def test_an_interrupted_program_says_that_it_continues(bundle, monkeypatch, capsys):
    def interrupted(self, images):
        raise KeyboardInterrupt

    replace_here(monkeypatch, OnnxEncoder, "embed", interrupted)
    assert main([str(bundle)]) == 130
    assert "same command" in capsys.readouterr().err


def cut(splits, **parts):
    return Splits(**({"train": splits.train, "calibration": splits.calibration, "test": splits.test} | parts))


def test_sets_that_make_no_index_are_refused(tmp_path, digits):
    few = cut(digits, train=digits.train.take(range(20)))
    with pytest.raises(IndexBuildError, match="20 exemplars, but the vote asks 21"):
        build_index(write_bundle(tmp_path / "few", few, k=21), few, quiet=True)
    alike = cut(digits, train=digits.train.take(np.flatnonzero(digits.train.labels == 3)))
    with pytest.raises(IndexBuildError, match="one class"):
        build_index(write_bundle(tmp_path / "alike", alike), alike, quiet=True)
    renamed = write_bundle(tmp_path / "renamed", digits)
    manifest = read_manifest(renamed)
    BundleWriter.open(renamed).commit(manifest.model_copy(update={"class_names": ("a", "b")}))
    with pytest.raises(IndexBuildError, match="the manifest a, b"):
        build_index(renamed, digits, quiet=True)
    large = data.load("digits", size=16, calibration=100)
    mixed = write_bundle(tmp_path / "mixed", digits, sha256=large.sha256)
    with pytest.raises(IndexBuildError, match=r"\(16, 16, 3\).*\(8, 8, 3\)"):
        build_index(mixed, large, quiet=True)


def test_an_encoder_of_another_dimension_is_refused(bundle, digits):
    BundleWriter.open(bundle).commit(read_manifest(bundle).model_copy(update={"embedding_dim": DIM + 1}))
    with pytest.raises(BundleError, match="16 dimensions, the manifest says 17"):
        build_index(bundle, digits, quiet=True)


def test_as_many_exemplars_as_neighbours_are_enough(build, tmp_path, digits):
    few = cut(digits, train=digits.train.take(range(20)))
    record = build(write_bundle(tmp_path / "few", few, k=20), few)
    assert record.exemplars == 20


def test_a_set_without_calibration_images_is_not_calibrated(build, tmp_path, digits):
    none = cut(digits, calibration=digits.calibration.take([]))
    directory = write_bundle(tmp_path / "none", none)
    build(directory, none)
    assert read_manifest(directory).calibration is None
    assert not (directory / "calibration.npz").exists()


def test_mislabelled_exemplars_are_flagged(build, tmp_path, digits):
    labels = digits.train.labels.copy()
    wrong = np.random.default_rng(0).permutation(len(labels))[:40]
    labels[wrong] = (labels[wrong] + 1) % 10
    spoiled = LabelledImages(digits.train.images, labels, digits.class_names, digits.train.sources)
    splits = cut(digits, train=spoiled)
    directory = write_bundle(tmp_path / "spoiled", splits)
    build(directory, splits)
    flagged = Bundle.open(directory).exemplars.flags & Flag.DISAGREES > 0
    assert flagged[wrong].mean() > 0.85
    assert np.delete(flagged, wrong).mean() < 0.2


@pytest.mark.parametrize("built_before", [False, True])
def test_nothing_changes_when_writing_fails(build, bundle, digits, monkeypatch, built_before):
    if built_before:
        build(bundle, digits)
    before = files(bundle)

    def full(self, path):
        path.write_bytes(b"half a table")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("holdfast.bundle.exemplars.Exemplars.save", full)
    with pytest.raises(OSError, match="No space left"):
        build(bundle, digits, batch_size=99)
    after = {name: content for name, content in files(bundle).items() if not name.startswith(".index_build/")}
    assert after == before
    Bundle.open_encoder(bundle)


def test_a_new_index_stays_where_an_old_file_cannot_be_deleted(bundle, digits, monkeypatch):
    build_index(bundle, digits, kind="ivf", quiet=True)
    unlink = Path.unlink

    def held(path, *, missing_ok=False):
        if path.name == "index.ivf":
            raise PermissionError(1, "Operation not permitted")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", held)
    build_index(bundle, digits, quiet=True)
    monkeypatch.undo()
    opened = Bundle.open(bundle)
    assert opened.index.kind == opened.manifest.index.kind == "flat"
    assert (bundle / "index.ivf").exists()
    build_index(bundle, digits, kind="ivf", quiet=True)
    assert Bundle.open(bundle).index.kind == "ivf"


def test_an_interruption_after_the_manifest_leaves_the_new_index(bundle, digits, monkeypatch):
    build_index(bundle, digits, kind="ivf", quiet=True)
    unlink = Path.unlink

    def interrupted(path, *, missing_ok=False):
        if path.name == "index.ivf":
            raise KeyboardInterrupt
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_index(bundle, digits, quiet=True)
    monkeypatch.undo()
    assert Bundle.open(bundle).index.kind == "flat"


def test_a_vote_is_chosen_on_the_calibration_part(bundle, digits, capsys):
    assert main([str(bundle), "--threads", "1", "--choose-vote"]) == 0
    manifest = Bundle.open(bundle).manifest
    assert manifest.vote.weighting == "exponential"
    assert manifest.surrogate_tau == manifest.vote.temperature
    assert f"the {manifest.vote.k} nearest, exponential, temperature" in capsys.readouterr().out
    assert recalibrate(bundle) == manifest  # calibrated for the vote that was chosen, not for the trainer's
    images, labels = digits.calibration.images, digits.calibration.labels
    chosen = np.mean(Bundle.open(bundle).classifier().classify(images).labels == labels)
    build_index(bundle, digits, quiet=True)
    assert Bundle.open(bundle).manifest.vote == manifest.vote
    assert chosen >= 0.8


def test_accuracy_measured_with_another_index_is_forgotten(build, bundle, digits):
    accuracy = Accuracy(clean=0.9, robust=0.5, norm="linf", epsilon=0.1, attack="none", images=10)
    BundleWriter.open(bundle).commit(read_manifest(bundle).model_copy(update={"accuracy": accuracy}))
    build(bundle, digits)
    assert read_manifest(bundle).accuracy is None


def test_a_correction_for_frequencies_is_recorded_and_kept(bundle):
    words = [str(bundle), "--threads", "1", "--canary", "0"]
    assert main([*words, "--prior-correction", "0.5"]) == 0
    opened = Bundle.open(bundle)
    counts = np.bincount(opened.exemplars.labels)
    np.testing.assert_allclose(opened.manifest.vote.class_weights, (counts.min() / counts) ** 0.5)
    assert main(words) == 0
    assert read_manifest(bundle).vote == opened.manifest.vote
    assert main([*words, "--prior-correction", "0"]) == 0
    assert read_manifest(bundle).vote == VoteParameters(k=K)


def test_a_vote_cannot_be_chosen_without_gradients(tmp_path, digits):
    blind = write_bundle(tmp_path / "blind", digits, gradient=False)
    with pytest.raises(BundleError, match="gradient.onnx"):
        build_index(blind, digits, choose_vote=True, quiet=True)


def test_a_vote_cannot_be_chosen_on_nothing(tmp_path, digits):
    bare = cut(digits, calibration=digits.calibration.take(np.arange(0)))
    with pytest.raises(IndexBuildError, match="--calibration"):
        build_index(write_bundle(tmp_path / "bare", bare), bare, choose_vote=True, quiet=True)


@pytest.mark.parametrize("weight", [np.nan, np.inf, 0.0])
def test_an_encoder_whose_embeddings_are_no_unit_vectors_is_refused(tmp_path, digits, capsys, weight):
    whole = Linear.random(digits.train.images.shape[1], DIM)
    broken = Linear(whole.weights * np.float32(weight), whole.side)
    known = DataRecord(name="digits", sha256=digits.sha256, calibration=len(digits.calibration), seed=0)
    bundles.write_bundle(tmp_path / "bundle", broken, digits.class_names, data=known, vote=VoteParameters(k=K))
    assert main([str(tmp_path / "bundle"), "--threads", "1"]) == 2
    assert "unit length" in capsys.readouterr().err.splitlines()[-1]
    assert "index.faiss" not in files(tmp_path / "bundle")
