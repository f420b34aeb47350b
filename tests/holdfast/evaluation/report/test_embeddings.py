import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from holdfast.evaluation.report import cloud


@settings(max_examples=30)
@given(st.integers(3, 40), st.integers(2, 8), st.integers(0, 1000))
def test_a_cloud_is_the_principal_components_of_the_clean_embeddings(n, dim, seed):
    rng = np.random.default_rng(seed)
    clean, attacked = rng.normal(size=(2, n, dim)) * rng.uniform(0.5, 3, dim)
    fooled = rng.random(n) < 0.5
    drawn = cloud(clean, attacked, np.arange(n) % 3, fooled, "ball")
    reference = PCA(2).fit(clean)
    np.testing.assert_allclose(drawn.explained, reference.explained_variance_ratio_, rtol=1e-6)
    signs = np.sign((np.array(drawn.clean) * reference.transform(clean)).sum(0))
    np.testing.assert_allclose(drawn.clean, reference.transform(clean) * signs, atol=2e-4)
    np.testing.assert_allclose(drawn.attacked, reference.transform(attacked) * signs, atol=2e-4)
    assert drawn.fooled == tuple(fooled.tolist())


@given(st.integers(0, 1000))
def test_the_signs_of_a_cloud_do_not_hang_on_the_decomposition(seed):
    z = np.random.default_rng(seed).normal(size=(20, 5)) * np.array([5, 3, 1, 1, 1])
    labels, fooled = np.zeros(20, int), np.zeros(20, bool)
    once = cloud(z, z, labels, fooled, "")
    order = np.random.default_rng(seed).permutation(20)
    again = cloud(z[order], z[order], labels, fooled, "")
    np.testing.assert_allclose(np.array(once.clean)[order], again.clean, atol=2e-4)


def test_a_large_cloud_is_thinned_by_whole_images():
    z = np.random.default_rng(0).normal(size=(2, 1000, 3))
    labels = np.arange(1000)
    everything = cloud(z[0], z[1], labels, labels % 2 == 0, "", points=1000)
    drawn = cloud(z[0], z[1], labels, labels % 2 == 0, "", points=77)
    assert len(drawn.labels) == len(set(drawn.labels)) == 77
    for i, row in enumerate(drawn.labels):
        assert (drawn.clean[i], drawn.attacked[i]) == (everything.clean[row], everything.attacked[row])
        assert drawn.fooled[i] == (row % 2 == 0)


@pytest.mark.parametrize("shape", [(1, 4), (5, 1), (3, 2)])
def test_a_cloud_of_next_to_nothing(shape):
    z = np.ones(shape)
    drawn = cloud(z, z + 1, np.zeros(len(z), int), np.ones(len(z), bool), "")
    assert drawn.clean == ((0.0, 0.0),) * len(z)
    assert drawn.explained == (0.0, 0.0)


def test_a_cloud_of_arrays_that_do_not_fit_is_refused():
    with pytest.raises(ValueError, match="a cloud is of"):
        cloud(np.ones((3, 2)), np.ones((2, 2)), np.zeros(3, int), np.zeros(3, bool), "")
