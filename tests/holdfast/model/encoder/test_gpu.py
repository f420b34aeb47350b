"""The same bundle on the CPU and on a real GPU: python -m pytest -m gpu tests/bundle/test_gpu.py."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from holdfast.bundle import Bundle, Classifier
from holdfast.errors import DeviceError
from holdfast.model.encoder.bucketed import BucketedEncoder
from holdfast.model.encoder.device import find_gpu
from holdfast.model.encoder.onnx import OnnxEncoder
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.retrieval.flat_gpu import GpuFlatIndex
from tests.holdfast.model.retrieval.test_flat import unit

pytestmark = pytest.mark.gpu

SHIPPED = Path(__file__).parents[4] / "bundles/cifar10-small"

# float32 throughout, convolutions and sums in another order. TF32 would be ten times further off.
EMBEDDING = 1e-4
SIMILARITY = 1e-4


@pytest.fixture(scope="module", autouse=True)
def gpu() -> str:
    try:
        return find_gpu()
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def pair() -> tuple[OnnxEncoder, BucketedEncoder]:
    path = SHIPPED / "encoder.onnx"
    return OnnxEncoder(path), BucketedEncoder(path, device="cuda", max_batch=64)


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """Blurred noise, uint8 [count, 32, 32, 3]: colours and blobs, nearer to photographs than noise is."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC)) for image in small])


@pytest.mark.parametrize("count", [0, 1, 2, 3, 31, 32, 33, 64, 65, 200])
def test_embeddings_agree_at_every_batch_size(pair: tuple[OnnxEncoder, BucketedEncoder], count: int) -> None:
    plain, bucketed = pair
    images = pictures(count, seed=count) if count else np.zeros((0, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(bucketed.embed(images), plain.embed(images), rtol=0, atol=EMBEDDING)


def test_the_encoder_answers_the_same_after_every_start(
    pair: tuple[OnnxEncoder, BucketedEncoder],
) -> None:
    _, bucketed = pair
    again = BucketedEncoder(SHIPPED / "encoder.onnx", device="cuda", max_batch=64)
    images = pictures(64)
    np.testing.assert_allclose(again.embed(images), bucketed.embed(images), rtol=0, atol=1e-6)


def test_threads_take_turns(pair: tuple[OnnxEncoder, BucketedEncoder]) -> None:
    _, bucketed = pair
    batches = [pictures(1 + 7 * seed % 70, seed) for seed in range(40)]
    alone = [bucketed.embed(images) for images in batches]
    with ThreadPoolExecutor(4) as threads:
        for together, expected in zip(threads.map(bucketed.embed, batches), alone, strict=True):
            np.testing.assert_allclose(together, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("half", [False, True])
def test_the_index_finds_the_same_neighbours(half: bool) -> None:
    flat = FlatIndex.build(unit(0, 50_000, 128), np.arange(50_000)[::-1].copy() * 3, half=half)
    queries, gpu = unit(1, 200, 128), GpuFlatIndex(flat)
    for k in (1, 50, 1000):
        expected, found = flat.search(queries, k), gpu.search(queries, k)
        np.testing.assert_allclose(found.similarities, expected.similarities, rtol=0, atol=SIMILARITY)
        shared = [len(np.intersect1d(*rows)) for rows in zip(found.ids, expected.ids, strict=True)]
        assert np.mean(shared) >= 0.999 * k
        assert (np.diff(found.similarities, axis=1) <= 0).all()


@pytest.mark.parametrize("choice", ["cuda", "auto"])
def test_labels_agree_on_999_of_1000_images(gpu: str, choice: str) -> None:
    on_cpu, on_gpu = Bundle.open(SHIPPED), Bundle.open(SHIPPED, device=choice)
    assert (on_gpu.placement.device, on_gpu.placement.gpu) == ("cuda", gpu)
    plain, fast = Classifier(on_cpu), Classifier(on_gpu)
    same, distance = [], []
    for seed in range(20):
        images = pictures(100, seed)
        expected, answers = plain.classify(images), fast.classify(images)
        same.append(answers.labels == expected.labels)
        distance.append(np.abs(answers.neighbours.similarities - expected.neighbours.similarities).max())
    assert np.mean(same) >= 0.999
    assert max(distance) <= SIMILARITY
