from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.bundle.exemplars import Exemplars
from holdfast.errors import BundleError, ContractMismatchError
from holdfast.model.retrieval.flat import FlatIndex, canonical


def unit(seed: int, n: int, d: int = 16) -> np.ndarray:
    z = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


@given(st.integers(0, 10_000), st.integers(1, 20), st.integers(1, 70))
def test_finds_what_brute_force_finds(seed: int, k: int, queries: int) -> None:
    bank, z = unit(seed, 50), unit(seed + 1, queries)
    found = FlatIndex.build(bank, np.arange(50)).search(z, k)
    brute = np.sort(z @ bank.T, axis=1)[:, ::-1][:, :k]
    np.testing.assert_allclose(found.similarities, brute, atol=2e-5)
    assert (np.diff(found.similarities, axis=1) <= 0).all()


def test_duplicates_come_in_the_order_of_their_ids_at_every_batch_size() -> None:
    bank = np.repeat(unit(0, 4), 10, axis=0)
    ids = np.random.default_rng(0).permutation(40)
    index, z = FlatIndex.build(bank, ids), unit(1, 33)
    together = index.search(z, 7)
    for i in range(33):
        np.testing.assert_array_equal(index.search(z[i : i + 1], 7).ids[0], together.ids[i])
    same = np.diff(together.similarities, axis=1) == 0
    assert same.any()
    assert (np.diff(together.ids, axis=1)[same] > 0).all()


@given(st.data())
def test_the_canonical_order_is_that_of_two_sort_keys(data: st.DataObject) -> None:
    """By similarity rounded to five digits, then by id, whatever faiss made of equals."""
    n, width = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 30))
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    levels = data.draw(st.sampled_from([2, 5, 1000]))
    similarities = -np.sort(-rng.integers(-levels, levels, (n, width)) / np.float32(levels) - rng.random((n, width)) * 1e-6)
    largest = data.draw(st.sampled_from([100, 2**50]))
    ids = np.stack(
        [
            rng.choice(largest, width, replace=False) if largest == 100 else largest - 1 - rng.permutation(width)
            for _ in range(n)
        ]
    )
    k = data.draw(st.integers(1, width))
    rounded = np.round(similarities.astype(np.float32), 5)
    order = np.lexsort((ids, -rounded), axis=-1)[:, :k]
    found = canonical(similarities.astype(np.float32), ids.copy(), k)
    np.testing.assert_array_equal(found.ids, np.take_along_axis(ids, order, axis=1))
    np.testing.assert_array_equal(found.similarities, np.take_along_axis(rounded, order, axis=1))


def test_save_and_load(tmp_path: Path) -> None:
    index = FlatIndex.build(unit(0, 30), np.arange(30) * 3)
    index.save(tmp_path / "i.faiss")
    again = FlatIndex.load(tmp_path / "i.faiss")
    for one, other in zip(index.vectors(), again.vectors(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_half_precision_halves_the_file_and_loads_as_it_was_built(tmp_path: Path) -> None:
    whole = unit(5, 300, 32)
    ids = np.arange(300) * 3
    exact, half = FlatIndex.build(whole, ids), FlatIndex.build(whole, ids, half=True)
    exact.save(tmp_path / "exact.faiss")
    half.save(tmp_path / "half.faiss")
    loaded = FlatIndex.load(tmp_path / "half.faiss")
    np.testing.assert_array_equal(loaded.vectors()[0], whole.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(loaded.ids, ids)
    queries = unit(6, 7, 32)
    for one in (half, loaded):
        np.testing.assert_array_equal(one.search(queries, 9).ids, half.search(queries, 9).ids)
        assert np.abs(one.search(queries, 9).similarities - exact.search(queries, 9).similarities).max() < 5e-4
    # Vectors shrink to half; ids, of eight bytes each, do not.
    assert (tmp_path / "exact.faiss").stat().st_size - (tmp_path / "half.faiss").stat().st_size > 300 * 32 * 2 - 200
    loaded.save(tmp_path / "again.faiss")
    assert (tmp_path / "again.faiss").read_bytes() == (tmp_path / "half.faiss").read_bytes()


def test_errors_are_clear(tmp_path: Path) -> None:
    index = FlatIndex.build(unit(0, 30), np.arange(30))
    with pytest.raises(ContractMismatchError, match="16"):
        index.search(unit(1, 2, 8), 3)
    with pytest.raises(ContractMismatchError, match="31 neighbours.*30"):
        index.search(unit(1, 2), 31)
    with pytest.raises(BundleError, match="unique"):
        FlatIndex.build(unit(0, 2), np.array([1, 1]))
    with pytest.raises(BundleError, match=r"below 2 \*\* 50"):
        FlatIndex.build(unit(0, 2), np.array([1, 2**50]))
    (tmp_path / "x").write_bytes(b"not an index")
    with pytest.raises(BundleError, match="not a faiss index"):
        FlatIndex.load(tmp_path / "x")
    with pytest.raises(BundleError, match="exemplars"):
        Exemplars.load(tmp_path / "x")


def test_exemplars_round_trip_and_look_up(tmp_path: Path) -> None:
    table = Exemplars(np.array([7, 3, 5]), np.array([0, 1, 2]), np.array(["a", "bb", "ü"]), np.array([0, 1, 2], dtype=np.uint8))
    table.save(tmp_path / "e.npz")
    again = Exemplars.load(tmp_path / "e.npz")
    assert again.sources.tolist() == ["a", "bb", "ü"]
    np.testing.assert_array_equal(again.labels_of(np.array([[5, 7], [3, 3]])), [[2, 0], [1, 1]])
    with pytest.raises(BundleError, match="belong together"):
        again.labels_of(np.array([4]))
