"""Embeddings in a file are read and changed as an array is."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.index_build.audit import disagreement_flags, recall_at_k
from holdfast.index_build.cells import disagreement_flags_by_cells
from holdfast.index_build.streaming import embedding_file
from holdfast.index_build.streaming.embedding_file import EmbeddingFile
from holdfast.model.retrieval.base import Bank
from holdfast.model.retrieval.embeddings import StoredBank
from holdfast.model.retrieval.table import build_retriever

DIM = 3


def written(folder, rows, pieces=1):
    drawn = np.random.default_rng(rows).normal(size=(rows, DIM)).astype(np.float32)
    file = EmbeddingFile(Path(folder) / "rows", DIM)
    for piece in np.array_split(drawn, pieces):
        file.append(piece)
    return file, drawn


bounds = st.none() | st.integers(-25, 25)


@given(st.integers(0, 20), st.integers(1, 4), bounds, bounds, st.sampled_from([None, 1, 2, -1]))
def test_slices_are_those_of_an_array(rows, pieces, start, stop, step):
    with tempfile.TemporaryDirectory() as folder:
        file, drawn = written(folder, rows, pieces)
        assert file.shape == drawn.shape
        np.testing.assert_array_equal(file[start:stop:step], drawn[start:stop:step])
        np.testing.assert_array_equal(np.asarray(file), drawn)


@given(st.data())
def test_rows_are_read_and_replaced_in_any_order(data):
    with tempfile.TemporaryDirectory() as folder:
        file, drawn = written(folder, data.draw(st.integers(1, 20)))
        rows = np.array(data.draw(st.lists(st.integers(0, len(drawn) - 1), max_size=30)), dtype=np.int64)
        np.testing.assert_array_equal(file[rows], drawn[rows])
        rows = np.unique(rows)[::-1]
        file[rows] = drawn[rows] = np.arange(len(rows) * DIM, dtype=np.float32).reshape(-1, DIM)
        file[2:5] = drawn[2:5] = drawn[2:5].astype(np.float16)
        np.testing.assert_array_equal(np.asarray(file), drawn)


@pytest.mark.parametrize("row", [-1, 4])
def test_a_row_that_there_is_not_is_refused(tmp_path, row):
    file, _ = written(tmp_path, 4)
    with pytest.raises(IndexError):
        file[np.array([0, row])]


def test_an_audit_comes_to_the_same_of_a_file_and_of_an_array(tmp_path):
    drawn = np.random.default_rng(0).normal(size=(3000, 8)).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    labels = np.random.default_rng(1).integers(0, 3, 3000)
    file = EmbeddingFile(tmp_path / "rows", 8)
    file.append(drawn)
    results = []
    for bank in (Bank(drawn, np.arange(3000), labels), StoredBank(file, np.arange(3000), labels)):
        index, how = build_retriever("flat", bank), {"classes": 3, "k": 9, "advance": lambda _: None}
        flags = disagreement_flags(index, bank, **how), disagreement_flags_by_cells(bank.embeddings, labels, **how)
        results.append((recall_at_k(index, bank, 9), [each.tolist() for each in flags]))
    assert results[0] == results[1]
    assert results[0][0] == 1


@given(st.integers(1, 20), st.data())
def test_only_the_rows_that_are_kept_stay(rows, data):
    kept = np.array(sorted(data.draw(st.sets(st.integers(0, rows - 1)))), dtype=np.int64)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding_file, "BLOCK", 3)
        file, drawn = written(folder, rows)
        file.keep(kept)
        assert file.shape == (len(kept), DIM)
        np.testing.assert_array_equal(np.asarray(file), drawn[kept])
        file.append(drawn[:1])
        np.testing.assert_array_equal(np.asarray(file), np.concatenate([drawn[kept], drawn[:1]]))
