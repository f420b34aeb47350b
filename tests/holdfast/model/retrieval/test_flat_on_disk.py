"""A flat index whose embeddings stay in a file answers, and is written, as one in memory."""

import faiss
import numpy as np
import pytest

from holdfast.index_build.streaming.embedding_file import EmbeddingFile
from holdfast.model.retrieval import flat_on_disk
from holdfast.model.retrieval.base import Bank, nearest
from holdfast.model.retrieval.embeddings import StoredBank
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.retrieval.table import build_retriever
from tests.holdfast.model.retrieval.test_flat import unit

DIM = 16


def stored(path, bank):
    file = EmbeddingFile(path, bank.embeddings.shape[1])
    file.append(bank.embeddings)
    return StoredBank(file, bank.ids, bank.labels)


def bank_of(rows, seed=0):
    ids = np.random.default_rng(seed).permutation(rows) + 7
    return Bank(unit(seed, rows, DIM), ids, ids % 5)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 511, 1300])
def test_its_file_is_that_of_faiss(tmp_path, rows, half):
    bank = bank_of(rows)
    build_retriever("flat", stored(tmp_path / "rows", bank), half=half).save(tmp_path / "streamed")
    FlatIndex.build(bank, half=half).save(tmp_path / "in-memory")
    inner = faiss.IndexFlatIP(DIM)
    if half:
        inner = faiss.IndexScalarQuantizer(DIM, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index = faiss.IndexIDMap2(inner)
    index.add_with_ids(bank.embeddings.astype(np.float16).astype(np.float32) if half else bank.embeddings, bank.ids)
    faiss.write_index(index, str(tmp_path / "by-faiss"))
    written = (tmp_path / "by-faiss").read_bytes()
    assert (tmp_path / "streamed").read_bytes() == written
    assert (tmp_path / "in-memory").read_bytes() == written
    assert FlatIndex.load(tmp_path / "streamed", bank.ids, bank.labels).size == rows


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("queries", [1, 3, 4, 70])
def test_it_finds_what_one_in_memory_finds(tmp_path, monkeypatch, queries, half):
    monkeypatch.setattr(flat_on_disk, "BLOCK_BYTES", 1)  # the smallest blocks
    bank, asked = bank_of(1300), unit(9, queries, DIM)
    on_disk, in_memory = build_retriever("flat", stored(tmp_path / "rows", bank), half=half), FlatIndex.build(bank, half=half)
    assert (on_disk.size, on_disk.dim, on_disk.kind, str(on_disk)) == (1300, DIM, "flat", str(in_memory))
    for k in (1, 30, 600, 1400):
        found, wanted = nearest(on_disk, asked, k), nearest(in_memory, asked, k)
        for ours, theirs in ((found.ids, wanted.ids), (found.labels, wanted.labels), (found.similarities, wanted.similarities)):
            np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(on_disk.reconstruct(bank.ids[[5, 0]]), in_memory.reconstruct(bank.ids[[5, 0]]))


def test_its_prototypes_are_those_of_its_exemplars(tmp_path):
    bank = bank_of(5000)
    index = build_retriever("flat", stored(tmp_path / "rows", bank))
    ours, theirs = index.prototypes, flat_on_disk.ClassPrototypes.of(bank.embeddings, bank.labels)
    np.testing.assert_array_equal(ours.embeddings, theirs.embeddings)
    np.testing.assert_array_equal(ours.log_weights, theirs.log_weights)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_other_kinds_are_the_same_of_a_file_and_of_an_array(tmp_path, kind):
    bank = bank_of(2000)
    for name, given_bank in (("file", stored(tmp_path / "rows", bank)), ("array", bank)):
        for number, write in enumerate(build_retriever(kind, given_bank).writers()):
            write(tmp_path / f"{name}-{number}")
    for number in range(2):
        assert (tmp_path / f"file-{number}").read_bytes() == (tmp_path / f"array-{number}").read_bytes()
