"""The inverted file: with all cells probed it is the flat index, with fewer it says what it found, exactly."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import BundleError, ContractMismatchError
from holdfast.model.retrieval.approximate import float16
from holdfast.model.retrieval.approximate.ivf import IvfIndex
from holdfast.model.retrieval.base import DECIMALS, SPARE, Bank, Summarised, nearest
from holdfast.model.retrieval.flat import FlatIndex
from tests.holdfast.model.retrieval.test_flat import unit

EVERYTHING = 10**6


def coarse(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    """Vectors whose products float16 and float32 hold exactly, however they are summed: so equals are equal everywhere."""
    return (rng.integers(-8, 9, (rows, dim)) / 16).astype(np.float32)


@pytest.fixture(scope="module")
def clustered() -> tuple[IvfIndex, Bank]:
    """3,000 exemplars of 20 groups."""
    rng = np.random.default_rng(0)
    middles = unit(1, 20, 24)
    groups = rng.integers(0, 20, 3000)
    embeddings = middles[groups] + rng.normal(0, 0.12, (3000, 24)).astype(np.float32)
    bank = Bank(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True), np.arange(3000) * 2, groups % 5)
    return IvfIndex.build(bank), bank


def drawn_bank(data: st.DataObject) -> Bank:
    """Fewer rows than are asked for, one class, and exemplars that are the same included."""
    rows, dim, classes = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 9)), data.draw(st.integers(1, 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    embeddings = coarse(rng, rows, dim)
    if data.draw(st.booleans()):
        embeddings = embeddings[rng.integers(0, max(1, rows // 4), rows)]
    return Bank(embeddings, rng.permutation(10 * rows)[:rows], rng.integers(0, classes, rows))


@settings(max_examples=50)
@given(st.data(), st.integers(1, 100))
def test_looking_everywhere_it_is_the_flat_index(data: st.DataObject, k: int) -> None:
    bank = drawn_bank(data)
    queries = coarse(np.random.default_rng(k), 3, bank.embeddings.shape[1])
    index, flat = IvfIndex.build(bank).probing(EVERYTHING), FlatIndex.build(bank)
    found, exact = nearest(index, queries, k), nearest(flat, queries, k)
    np.testing.assert_array_equal(found.similarities, exact.similarities)
    # Of the equals of the last one that was fetched, an index may bring any.
    sure = exact.similarities > np.round(flat.search(queries, k + SPARE).similarities[:, -1:], DECIMALS)
    np.testing.assert_array_equal(found.ids[sure], exact.ids[sure])
    np.testing.assert_array_equal(found.labels[sure], exact.labels[sure])
    assert k + SPARE <= len(bank.ids) or sure[exact.ids >= 0].all()


def test_what_it_finds_is_exact_and_more_cells_find_more(clustered: tuple[IvfIndex, Bank]) -> None:
    index, bank = clustered
    rounded = bank.embeddings.astype(np.float16).astype(np.float32)
    queries = unit(5, 40, 24)
    exact = nearest(FlatIndex.build(bank, half=True), queries, 50)
    shares = []
    for probes in (1, 4, index.cells):
        found = nearest(index.probing(probes), queries, 50)
        there = found.ids >= 0
        similarities = np.einsum("nd,nkd->nk", queries, rounded[found.ids // 2])
        np.testing.assert_allclose(found.similarities[there], similarities[there], atol=2e-5)
        np.testing.assert_array_equal(found.labels[there], bank.labels[found.ids[there] // 2])
        shares.append(np.mean([np.isin(e, f).mean() for e, f in zip(exact.ids, found.ids, strict=True)]))
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] > 0.98


def test_building_again_gives_the_same_index_and_another_seed_another(clustered: tuple[IvfIndex, Bank]) -> None:
    index, bank = clustered
    np.testing.assert_array_equal(IvfIndex.build(bank).centroids, index.centroids)
    assert not np.array_equal(IvfIndex.build(bank, seed=1).centroids, index.centroids)


def test_a_bank_on_the_disk_is_indexed_a_block_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = Bank(unit(3, 1000, 8), np.arange(1000), np.arange(1000) % 3)
    np.save(tmp_path / "bank.npy", bank.embeddings.astype(np.float16))
    mapped = Bank(np.load(tmp_path / "bank.npy", mmap_mode="r"), bank.ids, bank.labels)
    monkeypatch.setattr("holdfast.model.retrieval.approximate.float16.BLOCK", 300)
    blocks: list[int] = []
    index = IvfIndex.build(mapped, advance=blocks.append)
    assert blocks == [300, 300, 300, 100]
    queries = unit(4, 9, 8)
    np.testing.assert_array_equal(nearest(index, queries, 20).ids, nearest(IvfIndex.build(bank), queries, 20).ids)


def written(index: IvfIndex, directory: Path) -> list[Path]:
    paths = [directory / name for name in ("cells", "prototypes.npz")]
    for path, write in zip(paths, index.writers(), strict=True):
        write(path)
    return paths


def test_save_and_load(clustered: tuple[IvfIndex, Bank], tmp_path: Path) -> None:
    index, bank = clustered
    index = index.probing(3)
    paths = written(index, tmp_path)
    again = IvfIndex.load(*paths, bank.ids, bank.labels, **index.parameters)
    assert (str(again), again.parameters) == (str(index), {"probes": 3})
    queries = unit(7, 33, 24)
    np.testing.assert_array_equal(again.search(queries, 11).ids, index.search(queries, 11).ids)
    exported = again.export()
    np.testing.assert_array_equal(exported.embeddings, index.export().embeddings)
    np.testing.assert_array_equal(again.reconstruct(bank.ids[[7, 3]]), exported.embeddings[[7, 3]])
    assert isinstance(again, Summarised)
    np.testing.assert_array_equal(again.prototypes.embeddings, index.prototypes.embeddings)
    elsewhere = tmp_path / "again"
    elsewhere.mkdir()
    for one, other in zip(paths, written(again, elsewhere), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_files_that_do_not_belong_together(clustered: tuple[IvfIndex, Bank], tmp_path: Path) -> None:
    index, bank = clustered
    cells, prototypes = written(index, tmp_path)
    junk = tmp_path / "junk"
    junk.write_bytes(b"nothing of the kind")
    for paths in ((junk, prototypes), (cells, junk)):
        with pytest.raises(BundleError, match="junk.*holdfast index"):
            IvfIndex.load(*paths, bank.ids, bank.labels)
    with pytest.raises(ContractMismatchError, match="2999"):
        IvfIndex.load(cells, prototypes, bank.ids[1:], bank.labels[1:])
    FlatIndex.build(bank).save(junk)
    with pytest.raises(BundleError, match="junk.*float16.*holdfast index"):
        IvfIndex.load(junk, prototypes, bank.ids, bank.labels)


def test_threads_may_search_reconstruct_and_save_at_once(clustered: tuple[IvfIndex, Bank], tmp_path: Path) -> None:
    index, bank = clustered
    again = IvfIndex.load(*written(index, tmp_path), bank.ids, bank.labels)
    queries, rounded = unit(8, 16, 24), bank.embeddings.astype(np.float16).astype(np.float32)
    found = index.search(queries, 9).ids

    def work(number: int) -> None:
        for turn in range(5):
            np.testing.assert_array_equal(again.search(queries, 9).ids, found)
            rows = np.random.default_rng(10 * number + turn).integers(0, 3000, 50)
            np.testing.assert_array_equal(again.probing(number + 1).reconstruct(bank.ids[rows]), rounded[rows])
            path = tmp_path / str(number)
            again.writers()[0](path)
            assert path.read_bytes() == (tmp_path / "cells").read_bytes()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_more_than_can_be_handed_out_is_refused(clustered: tuple[IvfIndex, Bank], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float16, "EXPORT_BYTES", 3000 * 24 * 4 - 1)
    with pytest.raises(BundleError, match="GiB"):
        clustered[0].export()
