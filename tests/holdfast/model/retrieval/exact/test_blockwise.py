"""Many neighbours at once are the same ones that a look at every row finds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.model.answers import Floats
from holdfast.model.faiss_library import faiss
from holdfast.model.retrieval.base import Bank, nearest
from holdfast.model.retrieval.exact.blockwise import BLOCK, LEAST_K, LEAST_QUERIES, MOST_QUERIES, BlockwiseSearch
from holdfast.model.retrieval.exact.sample import RowSample
from holdfast.model.retrieval.flat import FlatIndex

DIM = 8


def unit(rng: np.random.Generator, rows: int) -> Floats:
    drawn = rng.standard_normal((rows, DIM)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def one_thread():
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(8 * LEAST_K, 3 * BLOCK),
    queries=st.integers(1, MOST_QUERIES + 9),
    k=st.integers(1, LEAST_K),
    distinct=st.sampled_from([5, 300, 10**6]),
)
def test_what_is_answered_is_exact(seed: int, rows: int, queries: int, k: int, distinct: int) -> None:
    rng = np.random.default_rng(seed)
    bank = unit(rng, min(rows, distinct))[rng.integers(0, min(rows, distinct), rows)]  # few distinct ones: many are equal
    asked = unit(rng, queries)
    products, found, answered = BlockwiseSearch(bank, RowSample(bank)).search(asked, k)
    every = (asked @ bank.T)[answered]
    best = -np.sort(-every, axis=1)[:, :k]
    np.testing.assert_allclose(products[answered], best, atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(every, found[answered], axis=1), best, atol=1e-6)
    assert all(len(set(row)) == k for row in found[answered].tolist())
    assert (np.diff(products[answered]) <= 0).all()


def test_most_queries_are_answered() -> None:
    rng = np.random.default_rng(0)
    bank = unit(rng, 20_000)
    _, _, answered = BlockwiseSearch(bank, RowSample(bank)).search(unit(rng, 256), 200)
    assert answered.mean() > 0.95


@pytest.mark.parametrize("sort_rows", [False, True])
def test_an_index_answers_as_faiss_does(*, sort_rows: bool) -> None:
    rng = np.random.default_rng(1)
    rows, k = 5 * BLOCK + 7, 2 * LEAST_K
    labels = rng.integers(0, 3, rows)
    bank = unit(rng, rows) + 2 * np.eye(DIM, dtype=np.float32)[labels]
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    order = np.argsort(labels) if sort_rows else np.arange(rows)
    index = FlatIndex.build(Bank(bank[order], np.arange(rows) * 3, labels[order]))
    asked = np.concatenate([unit(rng, 3 * LEAST_QUERIES), -bank[:5], np.full((1, DIM), 1e-3, np.float32)])
    many = nearest(index, asked, k)
    faiss.omp_set_num_threads(2)  # then faiss searches
    plain = nearest(index, asked, k)
    np.testing.assert_allclose(many.similarities, plain.similarities, atol=2e-5)
    same = [len(set(a) & set(b)) for a, b in zip(many.ids.tolist(), plain.ids.tolist(), strict=True)]
    assert min(same) >= k - 1  # the k-th may lie on the border of two roundings
    np.testing.assert_array_equal(index.export().labels[many.ids // 3], many.labels)


@pytest.mark.parametrize("value", [np.nan, 0.0, np.inf])
def test_a_query_that_is_no_unit_vector_costs_the_others_nothing(value: float) -> None:
    rng = np.random.default_rng(2)
    index = FlatIndex.build(Bank(unit(rng, 4 * BLOCK), np.arange(4 * BLOCK), np.zeros(4 * BLOCK, np.int64)))
    asked = unit(rng, 2 * LEAST_QUERIES)
    alone = index.search(asked, LEAST_K)
    asked[3] = value
    beside = index.search(asked, LEAST_K)
    others = np.arange(len(asked)) != 3
    np.testing.assert_array_equal(beside.ids[others], alone.ids[others])


def test_rows_that_are_all_alike_are_found_by_id() -> None:
    rows = 4 * BLOCK
    bank = np.tile(np.float32([[1, 0, 0, 0, 0, 0, 0, 0]]), (rows, 1))
    index = FlatIndex.build(Bank(bank, np.arange(rows), np.zeros(rows, np.int64)))
    found = nearest(index, unit(np.random.default_rng(3), LEAST_QUERIES), LEAST_K)
    assert all(len(set(row)) == LEAST_K for row in found.ids.tolist())
