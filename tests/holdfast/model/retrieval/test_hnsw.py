"""The graph: what it finds is exact, the more it has in sight the more it finds, and its files say what they are."""

from pathlib import Path

import numpy as np
import pytest

from holdfast.errors import BundleError, ContractMismatchError
from holdfast.model.retrieval.approximate import float16
from holdfast.model.retrieval.approximate.hnsw import HnswIndex
from holdfast.model.retrieval.base import Bank, Summarised, nearest
from holdfast.model.retrieval.flat import FlatIndex
from tests.holdfast.model.retrieval.test_flat import unit


@pytest.fixture(scope="module")
def bank() -> Bank:
    return Bank(unit(1, 3000, 24), np.random.default_rng(0).permutation(9000)[:3000], np.arange(3000) % 5)


@pytest.fixture(scope="module")
def index(bank: Bank) -> HnswIndex:
    return HnswIndex.build(bank)


def test_more_in_sight_finds_more(index: HnswIndex, bank: Bank) -> None:
    queries = unit(5, 40, 24)
    exact = nearest(FlatIndex.build(bank, half=True), queries, 10)
    shares = []
    for variant in index.variants(10):
        found = nearest(variant, queries, 10)
        shares.append(np.mean([np.isin(e, f).mean() for e, f in zip(exact.ids, found.ids, strict=True)]))
    assert shares[0] < shares[-1]
    assert shares[-1] > 0.999
    same = found.ids == exact.ids
    np.testing.assert_allclose(found.similarities[same], exact.similarities[same], atol=2e-5)
    np.testing.assert_array_equal(found.labels[same], exact.labels[same])


@pytest.mark.parametrize("rows", [1, 7])
def test_fewer_than_k(rows: int) -> None:
    bank = Bank(np.repeat(unit(0, 1, 5), rows, axis=0), np.arange(rows) + 3, np.zeros(rows, np.int64))
    found = nearest(HnswIndex.build(bank), unit(1, 2, 5), 9)
    assert found.ids[:, :rows].tolist() == [list(range(3, rows + 3))] * 2
    assert (found.ids[:, rows:] == -1).all()
    assert np.isneginf(found.similarities[:, rows:]).all()


def test_save_and_load(index: HnswIndex, bank: Bank, tmp_path: Path) -> None:
    index = index.looking(50)
    paths = [tmp_path / "graph", tmp_path / "prototypes"]
    for path, write in zip(paths, index.writers(), strict=True):
        write(path)
    again = HnswIndex.load(*paths, bank.ids, bank.labels, **index.parameters)
    assert (str(again), again.parameters) == (str(index), {"breadth": 50})
    assert isinstance(again, Summarised)
    queries = unit(7, 33, 24)
    np.testing.assert_array_equal(again.search(queries, 11).ids, index.search(queries, 11).ids)
    exported = again.export()
    np.testing.assert_array_equal(exported.embeddings, bank.embeddings.astype(np.float16))
    np.testing.assert_array_equal(exported.ids, bank.ids)
    np.testing.assert_array_equal(again.reconstruct(bank.ids[[7, 3]]), exported.embeddings[[7, 3]])
    with pytest.raises(ContractMismatchError, match="2999"):
        HnswIndex.load(*paths, bank.ids[1:], bank.labels[1:])
    with pytest.raises(BundleError, match="holdfast index"):
        HnswIndex.load(paths[1], paths[0], bank.ids, bank.labels)


def test_building_again_gives_the_same_file(bank: Bank, index: HnswIndex, tmp_path: Path) -> None:
    index.writers()[0](tmp_path / "one")
    HnswIndex.build(bank).writers()[0](tmp_path / "other")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_more_than_can_be_handed_out_is_refused(index: HnswIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float16, "EXPORT_BYTES", 3000 * 24 * 4 - 1)
    with pytest.raises(BundleError, match="GiB"):
        index.export()
