"""Predictions: learned from batches, and from how late they were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.server.core.scheduling.prediction import Backlog, BatchTimes, Lateness


def seconds_of(images: int) -> float:
    """A model that has a price for each batch, and one for each image."""
    return 0.005 + 0.001 * images


@pytest.fixture
def times() -> BatchTimes:
    learned = BatchTimes()
    for _ in range(30):
        for images in (1, 2, 4, 8, 16, 32, 64):
            learned.add(images, seconds_of(images))
    return learned


def test_what_was_not_measured_takes_no_time() -> None:
    times = BatchTimes()
    assert (times.seconds(1), times.seconds(64), times.most_within(0.0, 64)) == (0.0, 0.0, 64)


def test_sizes_keep_their_own_price(times: BatchTimes) -> None:
    for images in (1, 2, 4, 8, 16, 32, 64):
        assert times.seconds(images) == pytest.approx(seconds_of(images))
    assert times.seconds(256) == pytest.approx(4 * seconds_of(64))  # as many batches of the largest known size


@given(st.integers(1, 64), st.floats(0.001, 0.1))
def test_the_largest_batch_within_a_time_is_within_it(most: int, seconds: float) -> None:
    times = BatchTimes()
    for images in (1, 2, 4, 8, 16, 32, 64):
        times.add(images, seconds_of(images))
    images = times.most_within(seconds, most)
    assert 1 <= images <= most
    assert images == 1 or times.seconds(images) <= seconds * (1 + 1e-9)
    assert images == most or times.seconds(images + 1) > seconds or times.seconds(2 * images) > seconds


def test_a_machine_that_stood_still_once_is_forgotten(times: BatchTimes) -> None:
    before = times.seconds(64)
    times.add(64, 100 * before)
    assert times.seconds(64) <= 1.2 * before + 1e-9
    for _ in range(20):
        times.add(64, before)
    assert times.seconds(64) == pytest.approx(before, rel=0.01)


@given(st.integers(0, 500), st.integers(0, 20), st.integers(1, 256), st.integers(0, 500), st.integers(0, 100), st.floats(0, 1))
def test_a_caller_waits_for_no_more_than_there_is(  # noqa: PLR0917 - hypothesis gives them by position
    queued: int, callers: int, images: int, own: int, undecoded: int, rest: float
) -> None:
    backlog = Backlog(ends=10.0 + rest, queued=queued, callers=callers, per_image=0.001, alone=0.003)
    ready = backlog.seconds_until(10.0, images, own=own, undecoded=undecoded, decoding=0.0)
    assert rest + images * 0.001 - 1e-9 <= ready <= rest + (queued + undecoded + images) * 0.001 + 0.003 + 1e-9


def test_a_caller_who_asks_little_does_not_wait_for_those_who_ask_much() -> None:
    backlog = Backlog(ends=0.0, queued=2000, callers=8, per_image=0.001, alone=0.003)
    new = backlog.seconds_until(10.0, 1, own=0, undecoded=0, decoding=0.0)
    greedy = backlog.seconds_until(10.0, 256, own=512, undecoded=0, decoding=0.0)
    assert new < 0.02
    assert greedy > 2.0


def test_decoding_counts_where_it_takes_longer_than_the_queue() -> None:
    backlog = Backlog(ends=0.0, queued=10, callers=1, per_image=0.001, alone=0.003)
    assert backlog.seconds_until(10.0, 1, own=10, undecoded=0, decoding=0.5) == pytest.approx(0.503)


@pytest.mark.parametrize("wrong_by", [1.2, 1.5, 3.0])
def test_predictions_are_stretched_until_most_are_kept(wrong_by: float) -> None:
    lateness = Lateness()
    for _ in range(2000):
        lateness.add(0.1, 0.1 * wrong_by)
    assert lateness.factor == pytest.approx(wrong_by, abs=0.01)
    for _ in range(60_000):
        lateness.add(0.1, 0.05)
    assert lateness.factor == Lateness.LEAST
