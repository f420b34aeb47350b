import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from holdfast.bundle import Bundle, BundleWriter, read_manifest
from holdfast.bundle.calibration_set import CalibrationSet
from holdfast.bundle.exemplars import Exemplars
from holdfast.errors import (
    BundleError,
    ContractMismatchError,
    HashMismatchError,
    MissingFileError,
    SchemaMismatchError,
)
from holdfast.model.classifier import Retrieval
from holdfast.model.retrieval.base import SPARE, Bank, Retriever
from holdfast.model.retrieval.flat import FlatIndex
from tests import kinds
from tests.holdfast.bundle.tiny import DIM, images_of, manifest, write_bundle, write_encoder


def rewrite(directory: Path, **changes: object) -> None:
    path = directory / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_opens_and_classifies(of_each_kind: Path) -> None:
    answers = Bundle.open(of_each_kind).classifier().classify(images_of(7, seed=1))
    assert answers.labels.shape == (7,)
    assert answers.neighbours.ids.shape == (7, 5)
    np.testing.assert_allclose(np.linalg.norm(answers.embeddings, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1, rtol=1e-5)


def test_an_exemplar_is_its_own_nearest_neighbour(of_each_kind: Path) -> None:
    answers = Bundle.open(of_each_kind).classifier().classify(images_of(40))
    assert (answers.neighbours.ids[:, 0] == np.arange(40)).all()


def test_the_same_image_gets_the_same_answer_at_every_batch_size(of_each_kind: Path) -> None:
    classifier, images = Bundle.open(of_each_kind).classifier(), images_of(32, seed=2)
    together = classifier.classify(images)
    for i in range(32):
        alone = classifier.classify(images[i : i + 1])
        assert alone.labels[0] == together.labels[i]
        np.testing.assert_array_equal(alone.neighbours.ids[0], together.neighbours.ids[i])


def test_no_images_give_no_answers(of_each_kind: Path) -> None:
    assert len(Bundle.open(of_each_kind).classifier().classify(images_of(0)).labels) == 0


def test_a_changed_file_is_refused_before_it_is_parsed(of_each_kind: Path) -> None:
    for name in read_manifest(of_each_kind).files:
        whole = (of_each_kind / name).read_bytes()
        data = bytearray(whole)
        data[len(data) // 2] ^= 1
        (of_each_kind / name).write_bytes(data)
        with pytest.raises(HashMismatchError, match=name):
            Bundle.open(of_each_kind)
        (of_each_kind / name).write_bytes(whole)
    Bundle.open(of_each_kind)


def test_a_missing_file_is_named(of_each_kind: Path) -> None:
    for name in (*read_manifest(of_each_kind).files, "manifest.json"):
        (of_each_kind / name).rename(of_each_kind / "elsewhere")
        with pytest.raises(MissingFileError, match=name):
            Bundle.open(of_each_kind)
        (of_each_kind / "elsewhere").rename(of_each_kind / name)
    Bundle.open(of_each_kind)


def test_the_manifest_names_the_kind_of_its_index(of_each_kind: Path) -> None:
    bundle = Bundle.open(of_each_kind)
    assert bundle.index.kind == bundle.manifest.index.kind
    assert json.loads((of_each_kind / "manifest.json").read_text())["index"]["kind"] == bundle.index.kind
    assert isinstance(bundle.index, Retriever)
    assert (bundle.index.size, bundle.index.dim) == (40, DIM)
    assert bundle.index.kind in str(bundle.index)


def test_an_index_of_an_unknown_kind_is_refused(tiny: Path) -> None:
    rewrite(tiny, index=json.loads((tiny / "manifest.json").read_text())["index"] | {"kind": "crystal-ball"})
    with pytest.raises(BundleError, match="crystal-ball.*flat"):
        Bundle.open(tiny)
    assert Bundle.open_encoder(tiny).encoder.dim == DIM  # as the index builder, which may build another one


def test_a_table_that_is_not_the_indexs(of_each_kind: Path) -> None:
    writer, half = BundleWriter.open(of_each_kind), np.arange(20)
    writer.add("exemplars.npz", Exemplars(half, half % 2, np.full(20, "x"), np.zeros(20, dtype=np.uint8)).save)
    writer.commit(read_manifest(of_each_kind))
    with pytest.raises(ContractMismatchError, match="holdfast index"):
        Bundle.open(of_each_kind)


def test_an_index_that_hands_nothing_out_answers_without_a_soft_margin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds.register(monkeypatch)
    for kind, known in (("sealed", False), ("ivf", True), ("flat", True)):
        answers = Bundle.open(write_bundle(tmp_path / kind, kind=kind)).classifier().classify(images_of(9, seed=3))
        assert (answers.soft_margin.shape, answers.soft_margin.dtype) == ((9,), np.float32)
        assert np.isfinite(answers.soft_margin).all() == known
        assert np.isnan(answers.soft_margin).all() != known


def test_a_file_that_is_dropped_goes_with_the_next_manifest(tiny: Path) -> None:
    writer = BundleWriter.open(tiny)
    writer.add("notes.txt", lambda path: path.write_text("x"))
    writer.commit(read_manifest(tiny))
    writer.drop("notes.txt")
    writer.drop("never-there.txt")
    assert (tiny / "notes.txt").exists()
    assert "notes.txt" not in writer.commit(read_manifest(tiny)).files
    assert not (tiny / "notes.txt").exists()
    Bundle.open(tiny)


def test_unknown_and_missing_fields_are_named(tiny: Path) -> None:
    rewrite(tiny, surprise=1, name="")
    with pytest.raises(SchemaMismatchError, match=r"name.*surprise|surprise.*name"):
        Bundle.open(tiny)


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00", '"x"'])
def test_a_manifest_that_is_not_an_object(tiny: Path, text: str) -> None:
    (tiny / "manifest.json").write_text(text)
    with pytest.raises(SchemaMismatchError, match="JSON"):
        Bundle.open(tiny)


def test_index_of_another_dimension(tiny: Path) -> None:
    writer = BundleWriter.open(tiny)
    wrong = np.eye(DIM + 1, dtype=np.float32)[np.arange(40) % (DIM + 1)]
    writer.add("index.faiss", FlatIndex.build(Bank(wrong, np.arange(40), np.arange(40) % 2)).save)
    writer.commit(read_manifest(tiny))
    with pytest.raises(ContractMismatchError, match=f"{DIM + 1} dimensions.*{DIM}"):
        Bundle.open(tiny)


def test_encoder_with_another_input_contract(tiny: Path) -> None:
    writer = BundleWriter.open(tiny)
    writer.add("encoder.onnx", lambda path: write_encoder(path, side=16))
    writer.commit(read_manifest(tiny))
    with pytest.raises(ContractMismatchError, match="16"):
        Bundle.open(tiny)


def test_encoder_that_takes_floats(tiny: Path) -> None:
    writer = BundleWriter.open(tiny)
    writer.add("encoder.onnx", lambda path: write_encoder(path, dtype=TensorProto.FLOAT))
    writer.commit(read_manifest(tiny))
    with pytest.raises(ContractMismatchError, match="uint8"):
        Bundle.open(tiny)


def test_a_file_that_is_no_graph(tiny: Path) -> None:
    writer = BundleWriter.open(tiny)
    writer.add("encoder.onnx", lambda path: path.write_bytes(b"not a graph"))
    writer.commit(read_manifest(tiny))
    with pytest.raises(BundleError, match=r"encoder\.onnx"):
        Bundle.open(tiny)


def test_without_an_index_the_error_says_how_to_build_it(tmp_path: Path) -> None:
    writer = BundleWriter.create(tmp_path / "b")
    writer.add("encoder.onnx", write_encoder)
    writer.commit(manifest())
    assert Bundle.open_encoder(tmp_path / "b").encoder.dim == DIM
    with pytest.raises(MissingFileError, match="holdfast index"):
        Bundle.open(tmp_path / "b")


def test_a_writer_that_fails_leaves_no_file(tmp_path: Path) -> None:
    writer = BundleWriter.create(tmp_path / "b")

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        writer.add("encoder.onnx", fail)
    assert list((tmp_path / "b").iterdir()) == []


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", ""])
def test_files_stay_inside_the_bundle(tiny: Path, name: str) -> None:
    rewrite(tiny, files={"encoder.onnx": "0" * 64, name: "0" * 64})
    with pytest.raises((BundleError, HashMismatchError)):
        Bundle.open(tiny)
    with pytest.raises(BundleError, match="inside"):
        BundleWriter.open(tiny).add(name, lambda path: path.write_bytes(b""))


def test_a_directory_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="not a bundle"):
        BundleWriter.create(tmp_path)
    with pytest.raises(MissingFileError, match="not a bundle"):
        Bundle.open(tmp_path)


def test_a_bundle_is_the_same_after_moving(tiny: Path, tmp_path: Path) -> None:
    shutil.move(tiny, tmp_path / "elsewhere")
    assert Bundle.open(tmp_path / "elsewhere").manifest.name == "tiny"


def test_manifest_round_trip() -> None:
    original = manifest(files={"encoder.onnx": "ab"})
    assert type(original).from_json(original.to_json(), "here") == original


def test_a_calibration_set_survives_being_written(tmp_path: Path) -> None:
    sources = ("a/1.png", "b/\udcff\n 2.png", "")
    held = CalibrationSet(np.eye(3, 5, dtype=np.float32), np.array([1, 0, 1]), sources)
    held.save(tmp_path / "calibration.npz")
    read = CalibrationSet.load(tmp_path / "calibration.npz")
    np.testing.assert_array_equal(read.embeddings, held.embeddings)
    np.testing.assert_array_equal(read.labels, held.labels)
    assert read.sources == sources


def test_what_is_no_calibration_set_is_refused(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "calibration.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(BundleError, match="not a calibration set"):
        CalibrationSet.load(path)
    with pytest.raises(BundleError, match="do not match"):
        CalibrationSet(np.eye(3, 5, dtype=np.float32), np.array([1]), ("",))
    for held, word in (((np.eye(2, 5), [0, 1]), "dimensions"), ((np.eye(2, DIM), [0, 2]), "classes")):
        writer = BundleWriter.open(tiny)
        embeddings, labels = np.asarray(held[0], dtype=np.float32), np.array(held[1])
        writer.add("calibration.npz", CalibrationSet(embeddings, labels, ("a", "b")).save)
        writer.commit(read_manifest(tiny))
        with pytest.raises(ContractMismatchError, match=word):
            _ = Bundle.open(tiny).calibration_set


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_an_embedding_that_is_not_a_number_is_abstained_from(tmp_path: Path, kind: str) -> None:
    bundle = Bundle.open(write_bundle(tmp_path / "bundle", kind=kind))
    classifier, images = bundle.classifier(), images_of(3)
    sound = classifier.classify(images)
    embeddings = bundle.encoder.embed(images).copy()
    embeddings[1] = np.nan
    found = bundle.index.search(embeddings, bundle.manifest.vote.k + SPARE)
    answers = classifier.decide(Retrieval(embeddings, found))
    assert answers.abstain.tolist() == [False, True, False]
    assert not answers.probabilities[1].any()
    assert (answers.neighbours.ids[1] == -1).all()
    for row in (0, 2):
        assert answers.labels[row] == sound.labels[row]
        np.testing.assert_array_equal(answers.neighbours.ids[row], sound.neighbours.ids[row])
