"""The index of the GPU, its GPU functions stood in for."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import ContractMismatchError, DeviceError
from holdfast.model.retrieval.base import nearest
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.retrieval.flat_gpu import MAX_K, TEMPORARY_BYTES, GpuFlatIndex
from tests.holdfast.model.encoder.stand_in import StandInGpu
from tests.holdfast.model.retrieval.test_flat import assert_same, bank_of, unit


def both(bank: np.ndarray, ids: np.ndarray, *, half: bool = False) -> tuple[FlatIndex, GpuFlatIndex]:
    flat = FlatIndex.build(bank_of(bank, ids), half=half)
    return flat, GpuFlatIndex(flat, gpu=StandInGpu())


@given(seed=st.integers(0, 10_000), k=st.integers(1, 30), queries=st.integers(0, 40), repeats=st.integers(1, 5))
def test_it_finds_what_the_flat_index_finds_in_the_same_order(seed: int, k: int, queries: int, repeats: int) -> None:
    bank = np.repeat(unit(seed, 30), repeats, axis=0)  # equals, whose order is that of their ids
    ids = np.random.default_rng(seed).permutation(len(bank)) * 7
    flat, gpu = both(bank, ids)
    z = unit(seed + 1, queries)
    expected, found = nearest(flat, z, k), nearest(gpu, z, k)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.similarities, expected.similarities)
    assert (found.ids.dtype, found.similarities.dtype) == (np.int64, np.float32)


def test_it_holds_what_the_flat_index_holds() -> None:
    flat, gpu = both(unit(0, 30), np.arange(30)[::-1] + 5)
    assert (gpu.kind, gpu.size, gpu.dim) == ("flat", 30, 16)
    assert_same(gpu.export(), flat.export())


@pytest.mark.parametrize("half", [False, True])
def test_embeddings_are_float32_on_the_gpu_whatever_they_are_on_disk(half: bool) -> None:
    stand_in = StandInGpu()
    flat = FlatIndex.build(bank_of(unit(3, 200), np.arange(200)), half=half)
    gpu = GpuFlatIndex(flat, gpu=stand_in)
    (rows,) = stand_in.made
    assert (rows.options.useFloat16, rows.options.use_cuvs) == (False, False)
    assert (rows.resources.temporary, rows.resources.pinned) == (TEMPORARY_BYTES, 0)
    z = unit(4, 25)
    expected, found = nearest(flat, z, 9), nearest(gpu, z, 9)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.similarities, expected.similarities)


def test_a_gpu_finds_so_many_neighbours_and_no_more() -> None:
    _, large = both(unit(0, 3000, 4), np.arange(3000))
    assert nearest(large, unit(1, 2, 4), MAX_K).ids.shape == (2, MAX_K)
    with pytest.raises(DeviceError, match=f"k = {MAX_K}"):
        nearest(large, unit(1, 2, 4), MAX_K + 1)
    _, exact = both(unit(0, 2048, 4), np.arange(2048))
    assert nearest(exact, unit(1, 1, 4), 2048).ids.shape == (1, 2048)  # nothing to spare, nothing beyond the limit


def test_errors_are_those_of_the_flat_index() -> None:
    flat, gpu = both(unit(0, 30), np.arange(30))
    for queries, k in ((unit(1, 2, 8), 3), (unit(1, 2), 0), (unit(1, 2)[0], 1)):
        with pytest.raises(ContractMismatchError) as expected:
            flat.search(queries, k)
        with pytest.raises(ContractMismatchError) as refused:
            gpu.search(queries, k)
        assert str(refused.value) == str(expected.value)


def test_a_gpu_without_room_is_named() -> None:
    flat = FlatIndex.build(bank_of(unit(0, 30), np.arange(30)))
    with pytest.raises(DeviceError, match="30 x 16.*out of memory"):
        GpuFlatIndex(flat, gpu=StandInGpu(full=True))


def test_threads_take_turns() -> None:
    stand_in = StandInGpu()
    flat = FlatIndex.build(bank_of(unit(0, 400), np.arange(400)))
    gpu = GpuFlatIndex(flat, gpu=stand_in)
    calls = [(unit(seed, 1 + seed % 9), 1 + seed % 20) for seed in range(80)]
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda call: nearest(gpu, *call), calls))
    assert stand_in.made[0].resources.alone.entries == len(calls)
    for mine, expected in zip(found, (nearest(flat, *call) for call in calls), strict=True):
        np.testing.assert_array_equal(mine.ids, expected.ids)
