"""The encoder of the GPU, on the CPU: buckets, buffers and bindings are the same there."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import ContractMismatchError, DeviceError
from holdfast.model.encoder import bucketed as bucketed_encoder
from holdfast.model.encoder.bucketed import BucketedEncoder, sizes_up_to
from holdfast.model.encoder.onnx import OnnxEncoder
from tests.holdfast.bundle.tiny import DIM, SIDE, images_of, write_encoder
from tests.holdfast.model.encoder.stand_in import OneAtATime

SHIPPED = Path(__file__).parents[4] / "bundles/cifar10-small/encoder.onnx"

# float32 sums differ in their last digits with the size of the batch.
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "encoder.onnx"
    write_encoder(path)
    return path


@pytest.fixture(scope="module")
def plain(graph: Path) -> OnnxEncoder:
    return OnnxEncoder(graph)


@pytest.fixture(scope="module")
def bucketed(graph: Path) -> Any:
    return cache(lambda most: BucketedEncoder(graph, device="cpu", max_batch=most))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """(bucket, images) of every run; fails where two threads run at once."""
    seen: list[tuple[int, int]] = []
    run, alone = bucketed_encoder.Bucket.run, OneAtATime()

    def recorded(bucket: Any, images: np.ndarray) -> np.ndarray:
        with alone:
            time.sleep(0)  # lets another thread in
            seen.append((bucket.size, len(images)))
            return run(bucket, images)

    monkeypatch.setattr(bucketed_encoder.Bucket, "run", recorded)
    return seen


@given(count=st.integers(0, 40), most=st.integers(1, 19), seed=st.integers(0, 1000))
def test_it_answers_as_the_plain_encoder_at_every_batch_size(
    plain: OnnxEncoder, bucketed: Any, count: int, most: int, seed: int
) -> None:
    images = images_of(count, seed)
    embeddings, expected = bucketed(most).embed(images), plain.embed(images)
    assert embeddings.shape == expected.shape
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("count", [1, 2, 4, 8, 11])
def test_a_batch_that_fills_its_bucket_is_the_same_bit_for_bit(plain: OnnxEncoder, bucketed: Any, count: int) -> None:
    images = images_of(count, seed=count)
    np.testing.assert_array_equal(bucketed(11).embed(images), plain.embed(images))


def test_a_convolutional_encoder_answers_alike_too() -> None:
    plain, bucketed = OnnxEncoder(SHIPPED), BucketedEncoder(SHIPPED, device="cpu", max_batch=4)
    images = np.random.default_rng(0).integers(0, 256, (7, *plain.contract.shape), dtype=np.uint8)
    for count in (1, 3, 7):
        np.testing.assert_allclose(bucketed.embed(images[:count]), plain.embed(images[:count]), rtol=0, atol=1e-5)


@given(st.integers(1, 5000))
def test_buckets_are_powers_of_two_up_to_the_largest_batch(most: int) -> None:
    sizes = sizes_up_to(most)
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == most
    assert all(size.bit_count() == 1 for size in sizes[:-1])
    # Below the largest, no batch is padded to twice its size.
    assert all(next(size for size in sizes if size >= count) < 2 * count for count in range(1, min(most, 300) + 1))


def test_every_bucket_is_run_before_the_first_image_comes(graph: Path, runs: list[tuple[int, int]]) -> None:
    encoder = BucketedEncoder(graph, device="cpu", max_batch=12)
    assert encoder.buckets == (1, 2, 4, 8, 12)
    assert runs == [(12, 12), (8, 8), (4, 4), (2, 2), (1, 1)]
    runs.clear()
    encoder.embed(images_of(3 * 12 + 5))
    assert runs == [(12, 12)] * 3 + [(8, 5)]


def test_nothing_of_one_batch_is_seen_by_another(graph: Path, plain: OnnxEncoder) -> None:
    encoder = BucketedEncoder(graph, device="cpu", max_batch=8)
    many, few = images_of(7, seed=1), images_of(5, seed=2)
    first = encoder.embed(many)
    kept = first.copy()
    np.testing.assert_allclose(encoder.embed(few), plain.embed(few), rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(first, kept)  # an answer given is no view of a buffer
    np.testing.assert_allclose(encoder.embed(many), first, rtol=0, atol=TOLERANCE)


def test_images_that_may_not_be_written_to_and_slices_are_taken(bucketed: Any, plain: OnnxEncoder) -> None:
    images = images_of(8, seed=3)
    images.flags.writeable = False
    np.testing.assert_array_equal(bucketed(8).embed(images), plain.embed(images))
    np.testing.assert_allclose(bucketed(8).embed(images[::-2]), plain.embed(images[::-2]), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, SIDE, SIDE + 1, 3), dtype=np.uint8),
        np.zeros((2, SIDE, SIDE, 3), dtype=np.float32),
        np.zeros((SIDE, SIDE, 3), dtype=np.uint8),
    ],
)
def test_other_images_are_refused(bucketed: Any, images: np.ndarray) -> None:
    with pytest.raises(ContractMismatchError, match=r"uint8.*8, 8, 3"):
        bucketed(4).embed(images)


def test_threads_take_turns(graph: Path, plain: OnnxEncoder, runs: list[tuple[int, int]]) -> None:
    encoder = BucketedEncoder(graph, device="cpu", max_batch=8)
    batches = [images_of(1 + seed % 20, seed) for seed in range(60)]
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(encoder.embed, batches))
    for images, embeddings in zip(batches, answers, strict=True):
        np.testing.assert_allclose(embeddings, plain.embed(images), rtol=0, atol=TOLERANCE)
    assert sum(count for _, count in runs) == sum(map(len, batches)) + 1 + 2 + 4 + 8


def test_a_device_that_fails_is_named(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucketed_encoder.Bucket, "run", lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory")))
    with pytest.raises(DeviceError, match=r"16 images.*out of memory.*--max-batch"):
        BucketedEncoder(graph, device="cpu", max_batch=16)


def test_its_shape_is_the_graphs(bucketed: Any) -> None:
    assert (bucketed(1).dim, bucketed(1).contract.shape) == (DIM, (SIDE, SIDE, 3))
    assert bucketed(1).embed(images_of(0)).shape == (0, DIM)
