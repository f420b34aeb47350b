"""Label noise: how much of it there is, that it is the same everywhere, and what it leaves alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.bundle.manifest import DataRecord
from holdfast.data import DataError, load
from holdfast.data.noise import corrupt, label_error_rate, list_of_noise


@given(rate=st.floats(0, 1), seed=st.integers(0, 2**32), classes=st.integers(2, 12), n=st.integers(2, 300))
def test_only_the_share_that_is_listed_changes_and_it_is_the_same_again(rate, seed, classes, n) -> None:
    labels = np.arange(n) % classes
    kept = labels.copy()
    found = corrupt(labels, rate, seed, classes)
    assert np.array_equal(labels, kept)
    assert len(found.rows) == round(rate * n)
    assert (np.diff(found.rows) > 0).all()
    assert set(np.flatnonzero(found.labels != labels)) <= set(found.rows)
    assert ((found.labels >= 0) & (found.labels < classes)).all()
    assert np.array_equal(corrupt(labels, rate, seed, classes).labels, found.labels)


@pytest.mark.parametrize("rate", [0.1, 0.4, 1.0])
def test_of_labels_drawn_from_all_classes_one_in_so_many_is_right_by_chance(rate) -> None:
    labels = np.repeat(np.arange(10), 4000)
    found = corrupt(labels, rate, 3, 10)
    assert np.mean(found.labels != labels) == pytest.approx(label_error_rate(rate, 10), abs=0.01)
    counts = np.bincount(found.labels[found.rows], minlength=10)
    assert counts.min() > 0.8 * counts.mean()
    assert label_error_rate(0.4, 10) == pytest.approx(0.36)


def test_another_seed_is_other_noise_on_other_images() -> None:
    labels = np.arange(500) % 5
    one, other = (corrupt(labels, 0.4, seed, 5) for seed in (0, 1))
    assert not np.array_equal(one.rows, other.rows)


@pytest.mark.parametrize(
    ("labels", "rate", "classes", "what"),
    [
        (np.arange(8) % 2, -0.1, 2, "in \\[0, 1\\]"),
        (np.arange(8) % 2, 1.1, 2, "in \\[0, 1\\]"),
        (np.arange(8) % 2, float("nan"), 2, "in \\[0, 1\\]"),
        (np.zeros(8, np.int64), 0.5, 2, "one class"),
        (np.zeros(8, np.int64), 0.5, 1, "one class"),
    ],
)
def test_noise_that_is_none_is_refused(labels, rate, classes, what) -> None:
    with pytest.raises(DataError, match=what):
        corrupt(labels, rate, 0, classes)


def test_a_set_has_noise_on_its_training_part_alone_and_another_hash() -> None:
    clean, noisy, again, other = (
        load("digits", seed=seed, label_noise=rate) for seed, rate in ((1, 0), (1, 0.4), (1, 0.4), (1, 0.5))
    )
    assert clean.noise is None
    assert noisy.noise is not None
    wrong = noisy.noise.wrong(noisy.train)
    assert np.array_equal(noisy.noise.true_labels, clean.train.labels)
    assert len(noisy.noise.rows) == round(0.4 * len(clean.train))
    assert len(wrong) / len(clean.train) == pytest.approx(0.36, abs=0.03)
    for part in ("calibration", "test"):
        assert np.array_equal(getattr(noisy, part).labels, getattr(clean, part).labels)
    assert np.array_equal(noisy.train.images, clean.train.images)
    assert noisy.sha256 == again.sha256
    assert len({clean.sha256, noisy.sha256, other.sha256}) == 3
    lines = list_of_noise(noisy.noise, noisy.train).decode().splitlines()
    assert lines[0] == "source,true,given"
    assert len(lines) == 1 + len(noisy.noise.rows)
    row = int(wrong[0])
    assert f"{noisy.train.sources[row]},{clean.train.labels[row]},{noisy.train.labels[row]}" in lines


def test_a_record_of_before_has_no_noise() -> None:
    assert DataRecord(name="digits", sha256="0", calibration=1, seed=0).label_noise == 0
