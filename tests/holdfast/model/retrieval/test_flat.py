from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.bundle.exemplars import Exemplars
from holdfast.errors import BundleError, ContractMismatchError
from holdfast.model.answers import Neighbours
from holdfast.model.retrieval.base import Bank, canonical, nearest
from holdfast.model.retrieval.flat import FlatIndex


def unit(seed: int, n: int, d: int = 16) -> np.ndarray:
    z = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def bank_of(embeddings: np.ndarray, ids: np.ndarray) -> Bank:
    """Labelled by id, so that a label that lost its id shows."""
    return Bank(embeddings, ids, ids % 7)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 20), st.integers(1, 70))
def test_finds_what_brute_force_finds(seed: int, k: int, queries: int) -> None:
    bank, z = unit(seed, 50), unit(seed + 1, queries)
    found = nearest(FlatIndex.build(bank_of(bank, np.arange(50))), z, k)
    brute = np.sort(z @ bank.T, axis=1)[:, ::-1][:, :k]
    np.testing.assert_allclose(found.similarities, brute, atol=2e-5)
    assert (np.diff(found.similarities, axis=1) <= 0).all()
    np.testing.assert_array_equal(found.labels, found.ids % 7)


def test_where_there_are_fewer_the_rest_of_a_row_is_empty() -> None:
    found = nearest(FlatIndex.build(bank_of(unit(0, 3), np.array([5, 8, 1]))), unit(1, 2), 5)
    assert found.ids.shape == found.labels.shape == found.similarities.shape == (2, 5)
    assert {*found.ids[0, :3].tolist()} == {1, 5, 8}
    assert (found.ids[:, 3:] == -1).all()
    assert (found.labels[:, 3:] == -1).all()
    assert np.isneginf(found.similarities[:, 3:]).all()


def test_duplicates_come_in_the_order_of_their_ids_at_every_batch_size() -> None:
    bank = np.repeat(unit(0, 4), 10, axis=0)
    ids = np.random.default_rng(0).permutation(40)
    index, z = FlatIndex.build(bank_of(bank, ids)), unit(1, 33)
    together = nearest(index, z, 7)
    for i in range(33):
        np.testing.assert_array_equal(nearest(index, z[i : i + 1], 7).ids[0], together.ids[i])
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
    given = Neighbours(ids, ids % 7, similarities.astype(np.float32))
    kept = Neighbours(ids.copy(), given.labels.copy(), given.similarities.copy())
    found = canonical(given, k)
    np.testing.assert_array_equal(found.ids, np.take_along_axis(ids, order, axis=1))
    np.testing.assert_array_equal(found.labels, found.ids % 7)
    np.testing.assert_array_equal(found.similarities, np.take_along_axis(rounded, order, axis=1))
    for name in ("ids", "labels", "similarities"):
        np.testing.assert_array_equal(getattr(given, name), getattr(kept, name))


def test_neighbours_that_were_not_found_stay_at_the_end() -> None:
    similarities = np.array([[0.5, 0.5, -np.inf, -np.inf], [0.7, 0.6, 0.6, -np.inf]], dtype=np.float32)
    ids = np.array([[9, 4, -1, -1], [2, 8, 3, -1]])
    found = canonical(Neighbours(ids, np.where(ids < 0, -1, ids % 7), similarities), 4)
    assert found.ids.tolist() == [[4, 9, -1, -1], [2, 3, 8, -1]]
    assert found.labels.tolist() == [[4, 2, -1, -1], [2, 3, 1, -1]]


def assert_same(one: Bank, other: Bank) -> None:
    for name in ("embeddings", "ids", "labels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_save_and_load(tmp_path: Path) -> None:
    bank = bank_of(unit(0, 30), np.arange(30) * 3)
    index = FlatIndex.build(bank)
    index.save(tmp_path / "i.faiss")
    again = FlatIndex.load(tmp_path / "i.faiss", bank.ids, bank.labels)
    assert_same(again.export(), bank)
    again.save(tmp_path / "again.faiss")
    assert (tmp_path / "again.faiss").read_bytes() == (tmp_path / "i.faiss").read_bytes()


def test_what_is_exported_can_be_changed_without_harm() -> None:
    index = FlatIndex.build(bank_of(unit(0, 30), np.arange(30)))
    before, taken = index.export(), index.export()
    taken.embeddings[:], taken.ids[:], taken.labels[:] = 0, 0, 0
    assert_same(index.export(), before)


def test_half_precision_halves_the_file_and_loads_as_it_was_built(tmp_path: Path) -> None:
    whole = bank_of(unit(5, 300, 32), np.arange(300) * 3)
    exact, half = FlatIndex.build(whole), FlatIndex.build(whole, half=True)
    exact.save(tmp_path / "exact.faiss")
    half.save(tmp_path / "half.faiss")
    loaded = FlatIndex.load(tmp_path / "half.faiss", whole.ids, whole.labels)
    np.testing.assert_array_equal(loaded.export().embeddings, whole.embeddings.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(loaded.export().ids, whole.ids)
    assert ("float16" in str(loaded), "float16" in str(exact)) == (True, False)
    queries = unit(6, 7, 32)
    for one in (half, loaded):
        np.testing.assert_array_equal(nearest(one, queries, 9).ids, nearest(half, queries, 9).ids)
        assert np.abs(nearest(one, queries, 9).similarities - nearest(exact, queries, 9).similarities).max() < 5e-4
    # Vectors shrink to half; ids, of eight bytes each, do not.
    assert (tmp_path / "exact.faiss").stat().st_size - (tmp_path / "half.faiss").stat().st_size > 300 * 32 * 2 - 200
    loaded.save(tmp_path / "again.faiss")
    assert (tmp_path / "again.faiss").read_bytes() == (tmp_path / "half.faiss").read_bytes()


def test_errors_are_clear(tmp_path: Path) -> None:
    bank = bank_of(unit(0, 30), np.arange(30))
    index = FlatIndex.build(bank)
    with pytest.raises(ContractMismatchError, match="16"):
        index.search(unit(1, 2, 8), 3)
    with pytest.raises(ContractMismatchError, match="k = 0"):
        index.search(unit(1, 2), 0)
    with pytest.raises(BundleError, match="unique"):
        FlatIndex.build(bank_of(unit(0, 2), np.array([1, 1])))
    with pytest.raises(BundleError, match=r"2 \*\* 50"):
        FlatIndex.build(bank_of(unit(0, 2), np.array([1, 2**50])))
    with pytest.raises(ContractMismatchError, match="3 ids"):
        FlatIndex.build(bank_of(unit(0, 2), np.arange(3)))
    index.save(tmp_path / "i.faiss")
    with pytest.raises(ContractMismatchError, match="same ids"):
        FlatIndex.load(tmp_path / "i.faiss", bank.ids[::-1], bank.labels)
    (tmp_path / "x").write_bytes(b"not an index")
    with pytest.raises(BundleError, match="not a faiss index"):
        FlatIndex.load(tmp_path / "x", bank.ids, bank.labels)
    with pytest.raises(BundleError, match="exemplars"):
        Exemplars.load(tmp_path / "x")


def test_exemplars_round_trip_and_look_up(tmp_path: Path) -> None:
    table = Exemplars(np.array([7, 3, 5]), np.array([0, 1, 2]), np.array(["a", "bb", "ü"]), np.array([0, 1, 2], dtype=np.uint8))
    table.save(tmp_path / "e.npz")
    again = Exemplars.load(tmp_path / "e.npz")
    assert again.sources.tolist() == ["a", "bb", "ü"]
    np.testing.assert_array_equal(again.rows_of(np.array([[5, 7], [3, 3]])), [[2, 0], [1, 1]])
    with pytest.raises(BundleError, match="belong together"):
        again.rows_of(np.array([4]))
