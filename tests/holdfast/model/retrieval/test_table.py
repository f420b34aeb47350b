"""The table of kinds of index, and what happens where one is not there."""

from pathlib import Path

import numpy as np
import pytest

from holdfast.errors import BundleError
from holdfast.model.encoder.device import Device
from holdfast.model.retrieval.base import Bank, Exportable, Retriever, bank_of, nearest
from holdfast.model.retrieval.table import (
    RETRIEVERS,
    RetrieverKind,
    StoredRetriever,
    build_retriever,
    check_buildable,
    open_retriever,
    writers_of,
)
from tests import kinds
from tests.holdfast.model.retrieval.test_flat import unit

BANK = Bank(unit(0, 200), np.arange(200) * 3, np.arange(200) % 4)


@pytest.fixture(params=["flat", "ivf", "sealed"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    kinds.register(monkeypatch)
    return request.param


def reopened(index: StoredRetriever, directory: Path, device: Device = "cpu") -> Retriever:
    """As a bundle does it."""
    for name, write in writers_of(index).items():
        write(directory / name)
    paths = [directory / name for name in RETRIEVERS[index.kind].files]
    return open_retriever(index.kind, paths, BANK.ids, BANK.labels, device, parameters=index.parameters)


def test_every_kind_keeps_the_contract(kind: str, tmp_path: Path) -> None:
    queries = unit(1, 50)
    kept = queries.copy()
    built = build_retriever(kind, BANK)
    opened = reopened(built, tmp_path)
    for index in (built, opened):
        assert isinstance(index, Retriever)
        assert (index.kind, index.size, index.dim) == (kind, 200, 16)
        for k in (1, 20, 250):
            found = index.search(queries, k)
            np.testing.assert_array_equal(queries, kept)
            assert found.ids.shape == found.labels.shape == found.similarities.shape == (50, k)
            assert (found.ids.dtype, found.labels.dtype, found.similarities.dtype) == (np.int64, np.int64, np.float32)
            there = found.ids >= 0
            assert (np.diff(there.astype(int), axis=1) <= 0).all()  # what was not found is at the end
            assert (found.similarities[:, 1:] <= found.similarities[:, :-1])[there[:, 1:]].all()
            np.testing.assert_array_equal(found.labels[there], found.ids[there] // 3 % 4)
            assert (found.labels[~there] == -1).all()
            assert np.isneginf(found.similarities[~there]).all()
            for row in found.ids:
                assert len(np.unique(row[row >= 0])) == (row >= 0).sum()
    np.testing.assert_array_equal(nearest(opened, queries, 9).ids, nearest(built, queries, 9).ids)


def test_a_bank_comes_from_who_can_hand_it_out(kind: str) -> None:
    index = build_retriever(kind, BANK)
    if isinstance(index, Exportable):
        bank = bank_of(index)
        np.testing.assert_allclose(bank.embeddings, BANK.embeddings, atol=0 if kind == "flat" else 5e-4)
        np.testing.assert_array_equal(bank.ids, BANK.ids)
        np.testing.assert_array_equal(bank.labels, BANK.labels)
    else:
        with pytest.raises(BundleError, match="'sealed'.*--index flat"):
            bank_of(index)


def test_only_what_rounds_is_rounded(kind: str) -> None:
    if kind == "flat":
        assert "float16" in str(build_retriever(kind, BANK, half=True))
    else:
        with pytest.raises(BundleError, match="--half"):
            check_buildable(kind, half=True)


def test_an_unknown_kind_names_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"'crystal-ball'.*\bflat\b") as refused:
        open_retriever("crystal-ball", [tmp_path / "x"], BANK.ids, BANK.labels)
    assert "\n" not in str(refused.value)
    with pytest.raises(BundleError, match="crystal-ball"):
        check_buildable("crystal-ball")


def test_a_kind_that_is_not_installed_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "far_away.py").write_text("import no_such_client\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(RETRIEVERS, "remote", RetrieverKind("far_away:Remote", files=("remote.json",), extra="remote"))
    for attempt in (
        lambda: open_retriever("remote", [tmp_path / "x"], BANK.ids, BANK.labels),
        lambda: check_buildable("remote"),
    ):
        with pytest.raises(BundleError, match=r"no_such_client.*pip install 'holdfast\[remote\]'") as refused:
            attempt()
        assert "\n" not in str(refused.value)


def test_an_index_without_a_gpu_version_stays_where_it_is(tmp_path: Path) -> None:
    assert type(reopened(build_retriever("ivf", BANK), tmp_path, "cuda")).__name__ == "IvfIndex"


def test_parameters_that_a_kind_does_not_take_are_refused(tmp_path: Path) -> None:
    build_retriever("flat", BANK).save(tmp_path / "index")
    with pytest.raises(BundleError, match="crystals.*holdfast index"):
        open_retriever("flat", [tmp_path / "index"], BANK.ids, BANK.labels, parameters={"crystals": 7})
