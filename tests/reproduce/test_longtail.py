import numpy as np
import pytest

from holdfast.model.retrieval.base import Bank
from reproduce.longtail import long_tailed


@pytest.mark.parametrize("imbalance", [1, 10, 100])
def test_a_long_tail_keeps_all_of_the_first_class_and_its_share_of_the_last(imbalance):
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(5), 200))
    bank = Bank(rng.normal(size=(1000, 4)).astype(np.float32), np.arange(1000), labels)
    tail = long_tailed(bank, imbalance, seed=1)
    counts = np.bincount(tail.labels)
    assert (counts[0], counts[-1]) == (200, 200 // imbalance)
    assert (np.diff(counts) <= 0).all()
    np.testing.assert_allclose(counts[1:] / counts[:-1], imbalance**-0.25, rtol=0.15)
    # Rows are those of the bank, none twice, each with its label.
    known = {row.tobytes(): label for row, label in zip(bank.embeddings, labels, strict=True)}
    assert len({row.tobytes() for row in tail.embeddings}) == len(tail.labels)
    assert all(known[row.tobytes()] == label for row, label in zip(tail.embeddings, tail.labels, strict=True))
