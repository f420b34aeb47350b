import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.model.credibility import calibrate, credibility
from holdfast.model.resolution import describe_resolution, least_images


@given(st.integers(1, 24))
def test_few_images_warn_with_their_step_and_it_is_what_credibility_comes_in(images):
    said = describe_resolution(images)
    assert f"1/{images + 1}," in said
    random = np.random.default_rng(images)
    shares = random.dirichlet(np.ones(3), images)
    labels = random.integers(0, 3, images)
    calibration = calibrate(shares, shares.argmax(1), labels)
    asked = random.dirichlet(np.ones(3), 200)
    found, _ = credibility(asked, asked.argmax(1), calibration)
    steps = found * (images + 1)
    assert np.allclose(steps, np.round(steps))
    assert found.min() >= 1 / (images + 1) - 1e-12


@pytest.mark.parametrize(("coverage", "least"), [(0.95, 19), (0.9, 9), (0.99, 99), (0.5, 1), (1.0, 0)])
def test_images_that_a_coverage_needs(coverage, least):
    assert least_images(coverage) == least
    if least:
        assert 1 / (least + 1) <= 1 - coverage + 1e-9 < 1 / least + 1e-9


def test_enough_images_say_nothing():
    assert describe_resolution(25) is None
    assert describe_resolution(1000, 0.95) is None
    assert "at least 99" in describe_resolution(50, 0.99)
    assert "at least 19" in describe_resolution(18)
    assert "at least 19" not in describe_resolution(19)
