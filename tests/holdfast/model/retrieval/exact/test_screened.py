"""A first pass over rounded rows changes nothing: what is answered is what a look at every row finds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.model.answers import Floats
from holdfast.model.faiss_library import faiss
from holdfast.model.retrieval.base import Bank, nearest
from holdfast.model.retrieval.exact.sample import RowSample
from holdfast.model.retrieval.exact.screened import LEAST_GUESSED, LEAST_ROWS, LONGEST_REST, MOST_QUERIES, ScreenedSearch
from holdfast.model.retrieval.flat import FlatIndex

DIM = 16


def unit(rng: np.random.Generator, rows: int, dim: int = DIM) -> Floats:
    drawn = rng.standard_normal((rows, dim)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def screened(bank: Floats) -> ScreenedSearch:
    flat = faiss.IndexFlatIP(bank.shape[1])
    flat.add(bank)
    return ScreenedSearch(flat, bank, RowSample(bank))


def index_of(bank: Floats) -> FlatIndex:
    return FlatIndex.build(Bank(bank, np.arange(len(bank)) * 3, np.arange(len(bank)) % 7))


@given(
    seed=st.integers(0, 2**32 - 1),
    queries=st.integers(1, MOST_QUERIES),
    k=st.sampled_from([1, 15, LEAST_GUESSED - 1, LEAST_GUESSED, 900]),
    spread=st.sampled_from([0.001, 0.05, 0.5, 5.0]),
    bank_of=st.sampled_from([(1.0, 10**6), (0.001, 10**6), (300.0, 10**6), (1.0, 40)]),
)
def test_what_is_answered_is_exact(seed: int, queries: int, k: int, spread: float, bank_of: tuple[float, int]) -> None:
    length, distinct = bank_of
    rng = np.random.default_rng(seed)
    rows = LEAST_ROWS + int(rng.integers(0, 500))
    classes = unit(rng, 10)
    bank = classes[np.sort(rng.integers(0, 10, rows))] + spread * unit(rng, rows)
    bank = bank[rng.integers(0, min(rows, distinct), rows)]
    bank[:, -1] *= rng.choice([0, 1, 40])  # a dimension that says nothing, or most of all
    bank = (length * bank / np.linalg.norm(bank, axis=1, keepdims=True)).astype(np.float32)
    asked = np.concatenate([bank[: queries // 2] / length, unit(rng, queries - queries // 2)])
    products, found, answered = screened(bank).search(asked, k)
    every = (asked.astype(np.float64) @ bank.T.astype(np.float64))[answered]
    best = -np.sort(-every, axis=1)[:, :k]
    np.testing.assert_allclose(products[answered], best, atol=2e-6 * length)
    np.testing.assert_allclose(np.take_along_axis(every, found[answered], axis=1), best, atol=2e-6 * length)
    assert all(len(set(row)) == k for row in found[answered].tolist())


@pytest.mark.parametrize("k", [1, 75, 500])
def test_most_queries_are_answered(k: int) -> None:
    rng = np.random.default_rng(0)
    bank = unit(rng, 20_000, 64) + unit(rng, 10, 64)[np.sort(rng.integers(0, 10, 20_000))]
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    near = bank[:200] + 0.3 * unit(rng, 200, 64)
    _, _, answered = screened(bank).search(near / np.linalg.norm(near, axis=1, keepdims=True), k)
    assert answered.mean() > 0.9


def test_equals_come_by_their_row() -> None:
    rng = np.random.default_rng(1)
    bank = np.zeros((LEAST_ROWS, DIM), np.float32)
    bank[np.arange(LEAST_ROWS), rng.integers(0, DIM, LEAST_ROWS)] = 1  # products are 0 or 1
    ones = np.flatnonzero(bank[:, 0])
    assert len(ones) > LEAST_GUESSED
    products, found, answered = screened(bank).search(np.eye(1, DIM, dtype=np.float32), LEAST_GUESSED)
    assert answered.all()
    np.testing.assert_array_equal(found[0], ones[:LEAST_GUESSED])
    np.testing.assert_array_equal(products[0], np.ones(LEAST_GUESSED))


@pytest.mark.parametrize("k", [5, 300])
def test_an_index_answers_alike_whatever_it_is_asked_beside(k: int) -> None:
    rng = np.random.default_rng(2)
    bank = unit(rng, LEAST_ROWS + 99)
    index, asked = index_of(bank), unit(rng, 3 * MOST_QUERIES)
    many = nearest(index, asked, k)
    for start in range(0, len(asked), MOST_QUERIES):
        part = slice(start, start + MOST_QUERIES)
        few = nearest(index, asked[part], k)
        np.testing.assert_allclose(few.similarities, many.similarities[part], atol=2e-5)
        same = [len(set(a) & set(b)) for a, b in zip(few.ids.tolist(), many.ids[part].tolist(), strict=True)]
        assert min(same) >= k - 1  # the k-th may lie on the border of two roundings
        np.testing.assert_array_equal(few.ids // 3 % 7, few.labels)


@pytest.mark.parametrize("k", [5, 300])
@pytest.mark.parametrize("value", [np.nan, 0.0, np.inf, 3e38])
def test_a_query_that_is_no_unit_vector_costs_the_others_nothing(value: float, k: int) -> None:
    rng = np.random.default_rng(3)
    index, asked = index_of(unit(rng, LEAST_ROWS)), unit(rng, 4)
    alone = index.search(asked, k)
    asked[1] = value
    beside = index.search(asked, k)
    others = np.arange(4) != 1
    np.testing.assert_array_equal(beside.ids[others], alone.ids[others])


def test_rows_that_are_all_alike_are_found_and_soon_without_a_first_pass() -> None:
    bank = np.tile(np.eye(1, DIM, dtype=np.float32), (LEAST_ROWS, 1))
    index, search = index_of(bank), screened(bank)
    asked = unit(np.random.default_rng(4), 1)
    assert len(set(nearest(index, asked, 20).ids[0].tolist())) == 20
    tried = 0
    for _ in range(4 * LONGEST_REST):
        if search.worth(1, 20):
            tried += 1
            assert not search.search(asked, 20)[2].any()
    assert 1 < tried < 20


def test_a_small_index_has_no_first_pass() -> None:
    assert not screened(unit(np.random.default_rng(5), LEAST_ROWS - 1)).worth(1, 15)
