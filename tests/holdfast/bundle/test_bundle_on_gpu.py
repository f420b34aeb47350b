"""Bundles opened on a GPU, which is stood in for, and on the CPU in its place."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from holdfast.bundle import Bundle, BundleWriter, read_manifest
from holdfast.bundle.exemplars import Exemplars
from holdfast.errors import ContractMismatchError, DeviceError, HashMismatchError, MissingFileError
from holdfast.model.encoder import device
from holdfast.model.encoder.bucketed import BucketedEncoder
from holdfast.model.encoder.device import CPU, Placement
from holdfast.model.encoder.onnx import OnnxEncoder
from holdfast.model.retrieval.base import Bank
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.retrieval.flat_gpu import GpuFlatIndex
from holdfast.model.vote import VoteParameters
from tests.holdfast.bundle.tiny import DIM, images_of, write_encoder
from tests.holdfast.model.encoder.stand_in import NAME, StandInGpu, pretend_gpu


def test_the_cpu_is_taken_without_a_look_at_the_gpu(monkeypatch: pytest.MonkeyPatch, tiny: Path) -> None:
    monkeypatch.setattr(device, "find_gpu", lambda: pytest.fail("nobody asked"))
    monkeypatch.setattr(device, "load_cuda_libraries", lambda: pytest.fail("nobody asked"))
    bundle = Bundle.open(tiny)
    assert bundle.placement == CPU
    assert (type(bundle.encoder), type(bundle.index)) == (OnnxEncoder, FlatIndex)


def test_a_bundle_on_the_gpu_answers_as_on_the_cpu(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Bundle.open(tiny).classifier()
    pretend_gpu(monkeypatch)
    for choice in ("cuda", "auto"):
        bundle = Bundle.open(tiny, device=choice, max_batch=12)
        assert bundle.placement == Placement("cuda", NAME)
        assert isinstance(bundle.encoder, BucketedEncoder)
        assert bundle.encoder.buckets == (1, 2, 4, 8, 12)
        assert isinstance(bundle.index, GpuFlatIndex)
        for count in (0, 1, 7, 30):
            images = images_of(count, seed=count)
            expected, answers = plain.classify(images), bundle.classifier().classify(images)
            np.testing.assert_array_equal(answers.labels, expected.labels)
            np.testing.assert_allclose(answers.neighbours.similarities, expected.neighbours.similarities, atol=2e-5)


def test_float16_takes_the_graph_that_computes_in_it(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = BundleWriter.open(tiny)
    writer.add("encoder_float16.onnx", partial(write_encoder, weights=np.float16))
    writer.commit(read_manifest(tiny))
    images, plain = images_of(20, seed=3), Bundle.open(tiny)
    expected = OnnxEncoder(tiny / "encoder_float16.onnx").embed(images)
    assert not np.array_equal(expected, plain.encoder.embed(images))
    pretend_gpu(monkeypatch)
    for choice in ("cuda", "auto"):
        bundle = Bundle.open(tiny, device=choice, precision="float16", max_batch=20)
        assert bundle.placement == Placement("cuda", NAME, precision="float16")
        np.testing.assert_array_equal(bundle.encoder.embed(images), expected)
        np.testing.assert_array_equal(bundle.index.export().embeddings, plain.index.export().embeddings)
    assert Bundle.open(tiny, device="cuda").placement.precision == "float32"


def test_float16_where_there_is_none(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match="CPU.*float16"):
        Bundle.open(tiny, precision="float16")
    for choice in ("cuda", "auto"):  # the same with a GPU or without
        with pytest.raises(MissingFileError, match=r"encoder_float16\.onnx"):
            Bundle.open(tiny, device=choice, precision="float16")
    writer = BundleWriter.open(tiny)
    writer.add("encoder_float16.onnx", partial(write_encoder, dim=DIM + 1))
    writer.commit(read_manifest(tiny))
    pretend_gpu(monkeypatch)
    with pytest.raises(ContractMismatchError, match=r"encoder_float16\.onnx.*7.*6"):
        Bundle.open(tiny, device="cuda", precision="float16")


def test_a_gpu_that_answers_otherwise_than_the_cpu_serves_nobody(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed = BucketedEncoder.embed
    moved = np.zeros(DIM, dtype=np.float32)
    monkeypatch.setattr(BucketedEncoder, "embed", lambda encoder, images: embed(encoder, images) + moved)
    writer = BundleWriter.open(tiny)
    writer.add("encoder_float16.onnx", write_encoder)
    writer.commit(read_manifest(tiny))
    pretend_gpu(monkeypatch)
    for precision, tolerable in (("float32", 4.4e-4), ("float16", 1e-2)):
        moved[0] = 0.9 * tolerable
        assert Bundle.open(tiny, device="cuda", precision=precision).placement.device == "cuda"
        for length in (1.1 * tolerable, np.nan):
            moved[0] = length
            with pytest.raises(DeviceError, match=f"{precision}.*cosine distance"):
                Bundle.open(tiny, device="cuda", precision=precision)
            assert precision in Bundle.open(tiny, device="auto", precision=precision).placement.reason


def test_auto_that_finds_no_gpu_computes_in_float32_and_says_so(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = BundleWriter.open(tiny)
    writer.add("encoder_float16.onnx", partial(write_encoder, weights=np.float16))
    writer.commit(read_manifest(tiny))
    pretend_gpu(monkeypatch, StandInGpu(full=True))
    bundle = Bundle.open(tiny, device="auto", precision="float16")
    assert (bundle.placement.device, bundle.placement.precision) == ("cpu", "float32")
    images = images_of(20, seed=3)
    np.testing.assert_array_equal(bundle.encoder.embed(images), Bundle.open(tiny).encoder.embed(images))


def test_a_gpu_without_room_for_the_index(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpu(monkeypatch, StandInGpu(full=True))
    with pytest.raises(DeviceError, match="40 x 6"):
        Bundle.open(tiny, device="cuda")
    bundle = Bundle.open(tiny, device="auto")
    assert bundle.placement.device == "cpu"
    assert "40 x 6" in bundle.placement.reason
    assert isinstance(bundle.index, FlatIndex)


def test_more_neighbours_than_a_gpu_finds_are_refused_when_the_bundle_is_opened(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, rows = BundleWriter.open(tiny), 3000
    bank = np.random.default_rng(0).normal(size=(rows, DIM)).astype(np.float32)
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    grown = Exemplars(np.arange(rows), np.arange(rows) % 2, np.array(["x"] * rows), np.zeros(rows, dtype=np.uint8))
    writer.add("index.faiss", FlatIndex.build(Bank(bank, grown.ids, grown.labels)).save)
    writer.add("exemplars.npz", grown.save)
    writer.commit(read_manifest(tiny).model_copy(update={"vote": VoteParameters(k=2500)}))
    pretend_gpu(monkeypatch)
    with pytest.raises(DeviceError, match="2048"):
        Bundle.open(tiny, device="cuda")
    assert Bundle.open(tiny, device="auto").placement.device == "cpu"


def test_what_is_wrong_with_the_bundle_is_no_reason_for_another_device(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tiny / "index.faiss").write_bytes(b"changed")
    pretend_gpu(monkeypatch)
    for choice in ("cuda", "auto"):
        with pytest.raises(HashMismatchError, match=r"index\.faiss"):
            Bundle.open(tiny, device=choice)
