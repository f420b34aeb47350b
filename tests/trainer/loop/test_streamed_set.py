"""A training set that is not in memory gives the images that one in memory gives, whatever is asked of it."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast import data
from holdfast.data.streaming.training import open_training
from holdfast.trainer.config import Stage
from holdfast.trainer.loop.sampling import draw, places_of
from holdfast.trainer.loop.streamed_set import whole_set
from holdfast.trainer.objectives import SupervisedConfig
from tests.holdfast.data.folders import classes

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same thirty images, in memory and not."""
    folder = tmp_path_factory.mktemp("set")
    classes(folder, "cat", "dog", images=15)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        streamed = open_training(folder, 8, calibration=0, decoders=0, quiet=True)
    held = data.load("folder", directory=folder, size=8, calibration=0)
    return whole_set(held.train, CPU), whole_set(streamed.train, CPU)


def same(one, other):
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("images", "labels", "rows"))


PLACES = st.lists(st.integers(0, 23), min_size=1, max_size=30).map(torch.tensor)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PLACES, st.lists(st.integers(0, 10**6), min_size=1, max_size=9), st.integers(1, 30))
def test_it_gives_the_same_images_however_it_is_cut(both, places, numbers, size):
    held, streamed = both
    assert len(held) == len(streamed) == 24
    assert same(held.at(places), streamed.at(places))
    some, of_it = held.select(places), streamed.select(places)
    assert len(some) == len(of_it)
    again = torch.tensor([number % len(places) for number in numbers])
    assert same(some.at(again), of_it.at(again))
    for sets in ((held, streamed), (some, of_it), (some.select(again), of_it.select(again))):
        for one, other in zip(*(each.chunks(size) for each in sets), strict=True):
            assert same(one, other)
    for one, other in zip(some.batches([again, again[:1]]), of_it.batches([again, again[:1]]), strict=True):
        assert same(one, other)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(2, 40), st.integers(0, 3), st.integers(1, 40), st.integers(0, 12))
def test_a_step_draws_the_same_batch(both, batch_size, seed, step, again):
    held, streamed = both
    stage = Stage("s", SupervisedConfig(), steps=40, batch_size=batch_size)
    assert same(draw(held, stage, seed, step, again), draw(streamed, stage, seed, step, again))
    places = places_of(streamed, stage, seed, step, again)
    np.testing.assert_array_equal(places, places_of(held, stage, seed, step, again))
