from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import BundleError, ContractMismatchError
from holdfast.model.judgement.head import ClassifierHead
from tests.heads import head_of_means

RANDOM = np.random.default_rng(0)
EMBEDDINGS = RANDOM.normal(size=(40, 6)).astype(np.float32)
EMBEDDINGS /= np.linalg.norm(EMBEDDINGS, axis=1, keepdims=True)
LABELS = np.arange(40) % 4
HEAD = head_of_means(EMBEDDINGS, LABELS, 4)


@given(st.integers(0, 1000), st.floats(0, 0.9))
def test_whitening_is_undone(seed, shift):
    """z = W (u - m) brought to unit length is known, and u is of unit length: that is all it takes."""
    random = np.random.default_rng(seed)
    u = random.normal(size=(20, 6))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    base = random.normal(size=(6, 6))
    whiten, centre = base @ base.T + np.eye(6), np.full(6, shift / np.sqrt(6))
    z = (u - centre) @ whiten.T
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    unwhiten = np.linalg.inv(whiten).astype(np.float32)
    head = replace(HEAD, unwhiten=unwhiten, centre=centre.astype(np.float32))
    np.testing.assert_allclose(head.logits(z.astype(np.float32)), HEAD.logits(u.astype(np.float32)), atol=1e-3)


def test_response_and_doubt_are_probabilities():
    response = np.stack([HEAD.response(EMBEDDINGS, np.full(40, label)) for label in range(4)])
    np.testing.assert_allclose(response.sum(axis=0), 1)
    doubt = HEAD.doubt(EMBEDDINGS)
    assert ((doubt > 0) & (doubt < 1)).all()
    sure = replace(HEAD, bias=HEAD.bias - np.array([0, 0, 0, 0, 50], dtype=np.float32))
    assert sure.doubt(EMBEDDINGS).max() < 1e-9


@pytest.mark.parametrize("whitened", [False, True])
def test_it_comes_back_as_it_was_saved(tmp_path, whitened):
    head = replace(HEAD, unwhiten=np.eye(6, dtype=np.float32) * 2) if whitened else HEAD
    head = head.with_agreement(0.75)
    head.save(tmp_path / "classifier.npz")
    loaded = ClassifierHead.load(tmp_path / "classifier.npz")
    np.testing.assert_array_equal(loaded.logits(EMBEDDINGS), head.logits(EMBEDDINGS))
    assert (loaded.classes, loaded.abstains, loaded.agreement) == (4, True, 0.75)
    assert (loaded.unwhiten is not None) == whitened


@pytest.mark.parametrize(
    "change",
    [
        {"bias": HEAD.bias[:-1]},
        {"classes": 6},
        {"centre": np.ones(6, dtype=np.float32)},
        {"centre": np.zeros(5, dtype=np.float32)},
        {"unwhiten": np.zeros((6, 5), dtype=np.float32)},
        {"weights": np.full((5, 6), np.nan, dtype=np.float32)},
    ],
)
def test_what_is_no_classifier_is_refused(change):
    with pytest.raises(BundleError):
        replace(HEAD, **change)


def test_a_damaged_file_and_another_encoders_are_refused(tmp_path):
    (tmp_path / "classifier.npz").write_bytes(b"no archive")
    with pytest.raises(BundleError, match="not a classifier"):
        ClassifierHead.load(tmp_path / "classifier.npz")
    HEAD.refuse_misfit(6, 4, "here")
    for dim, classes in ((5, 4), (6, 3)):
        with pytest.raises(ContractMismatchError, match="here"):
            HEAD.refuse_misfit(dim, classes, "here")
