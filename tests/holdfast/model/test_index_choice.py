"""Which index is built, by what it answers."""

import numpy as np
import pytest

from holdfast.model.answers import Neighbours
from holdfast.model.retrieval.approximate import choice
from holdfast.model.retrieval.approximate.choice import answers_of, choose_index, exact_neighbours
from holdfast.model.retrieval.base import Bank, nearest
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.vote import VoteParameters, vote
from tests.holdfast.model.retrieval.test_flat import unit

CLASSES, K = 5, 20


def answer(neighbours: Neighbours) -> np.ndarray:
    return vote(neighbours.similarities, neighbours.labels, CLASSES, VoteParameters(k=K)).labels


@pytest.fixture(scope="module")
def bank() -> Bank:
    """4,000 exemplars without any structure, the hardest for cells and graphs."""
    return Bank(unit(1, 4000, 32), np.arange(4000), np.random.default_rng(0).integers(0, CLASSES, 4000))


def test_a_small_set_is_searched_exactly(bank: Bank) -> None:
    chosen = choose_index(bank, K, unit(2, 50, 32), answer)
    assert (chosen.index.kind, chosen.agreement) == ("flat", None)
    assert "4,000" in chosen.reason


@pytest.mark.parametrize(("few", "kind"), [(K, "hnsw"), (K - 1, "ivf")])
def test_a_large_one_by_the_cheapest_that_answers_alike(
    bank: Bank, few: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "FLAT_PRODUCTS", 1000)
    monkeypatch.setattr(choice, "FEW_NEIGHBOURS", few)
    queries = unit(3, 100, 32)
    chosen = choose_index(bank, K, queries, answer, target=0.97)
    assert chosen.index.kind == kind
    exact = answers_of(FlatIndex.build(bank, half=True), queries, K, answer)
    assert chosen.agreement.successes == (answers_of(chosen.index, queries, K, answer) == exact).sum() >= 97
    cheaper = [
        each for each in chosen.index.variants(K) if list(each.parameters.values()) < list(chosen.index.parameters.values())
    ]
    enough = [bool((answers_of(each, queries, K, answer) == exact).mean() >= 0.97) for each in cheaper]
    assert not any(all(enough[i : i + choice.IN_A_ROW]) for i in range(len(enough) - choice.IN_A_ROW + 1))
    loose = choose_index(bank, K, queries, answer, target=0.3)
    assert list(loose.index.parameters.values()) < list(chosen.index.parameters.values())


def test_where_none_answers_alike_it_stays_exact_and_says_why(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "FLAT_PRODUCTS", 1000)
    queries = unit(3, 60, 32)
    chosen = choose_index(bank, K, queries, answer, target=1.01)
    assert (chosen.index.kind, chosen.agreement) == ("flat", None)
    assert "hnsw" in chosen.reason
    asked = choose_index(bank, K, queries, answer, kind="ivf", target=1.01)
    assert (asked.index.kind, asked.index.parameters["probes"]) == ("ivf", asked.index.cells)
    assert "asked for" in asked.reason


def test_without_held_out_images_nothing_can_be_compared(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "FLAT_PRODUCTS", 1000)
    nobody = np.zeros((0, 32), dtype=np.float32)
    assert choose_index(bank, K, nobody, answer).index.kind == "flat"
    assert choose_index(bank, K, nobody, answer, kind="ivf").agreement is None


@pytest.mark.parametrize("k", [1, 20, 500])
def test_the_exact_answer_is_found_a_block_at_a_time(bank: Bank, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "BLOCK", 300)
    queries = unit(4, 30, 32)
    found, whole = exact_neighbours(bank, queries, k), nearest(FlatIndex.build(bank, half=True), queries, k)
    np.testing.assert_allclose(found.similarities, whole.similarities, atol=1.1e-5)
    same = found.ids == whole.ids
    assert same.mean() > 0.99  # where a similarity is rounded up in one of them only, neighbours change places
    np.testing.assert_array_equal(found.labels[same], whole.labels[same])
