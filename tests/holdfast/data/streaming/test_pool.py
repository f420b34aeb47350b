"""Processes that decode ahead: the same images in the same order, never far ahead, and an end that is said."""

import multiprocessing
from itertools import count, islice

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.data import DataError
from holdfast.data.listing import list_images
from holdfast.data.sources import StreamedFiles
from holdfast.data.streaming.pool import DecodingPool
from holdfast.model.preprocess import InputContract
from tests.holdfast.data.folders import put
from tests.holdfast.data.shards import samples, tar


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Twenty images in a shard, one of them unreadable."""
    folder = tmp_path_factory.mktemp("pool")
    members = samples([number % 2 for number in range(20)])
    members["0007.png"] = members["0007.png"][:-40]
    return StreamedFiles.of(list_images(tar(folder / "0.tar", members)), InputContract(height=8, width=8))


@pytest.fixture(scope="module")
def pool():
    with DecodingPool(2) as made:
        yield made


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(0, 19), max_size=40), max_size=8))
def test_a_pool_reads_what_the_source_reads(source, pool, drawn):
    batches = [np.array(rows, dtype=np.int64) for rows in drawn]
    found = list(pool.read(source, iter(batches)))
    for read, expected in zip(found, map(source.read, batches), strict=True):
        np.testing.assert_array_equal(read.images, expected.images)
        assert read.rows.tolist() == expected.rows.tolist()
        assert read.faults == expected.faults


def test_batches_without_an_end_are_read_a_few_ahead(source, pool):
    asked = []

    def batches():
        for number in count():
            asked.append(number)
            yield np.arange(number, number + 3) % 20

    for number, read in enumerate(islice(pool.read(source, batches()), 60)):
        assert len(asked) - number < 10
        assert read.images.shape[1:] == (8, 8, 3)
    assert len(asked) > 60


def test_without_processes_nothing_is_read_ahead(source):
    asked = []
    batches = (asked.append(number) or np.array([number]) for number in range(20))
    reading = DecodingPool(0).read(source, batches)
    assert next(reading).rows.tolist() == [0]
    assert asked == [0]


def test_files_are_read_in_processes_as_shards_are(tmp_path, pool):
    put(tmp_path, *(f"{name}/{number}.png" for name in "ab" for number in range(3)))
    files = StreamedFiles.of(list_images(tmp_path), InputContract(height=8, width=8))
    (read,) = pool.read(files, [np.arange(6)])
    np.testing.assert_array_equal(read.images, files.read(np.arange(6)).images)


def test_a_process_that_is_ended_from_outside_is_said_and_replaced(source):
    with DecodingPool(1) as broken:
        before = {child.pid for child in multiprocessing.active_children()}
        reading = broken.read(source, (np.full(30, number % 20) for number in range(1000)))
        next(reading)
        for child in multiprocessing.active_children():
            if child.pid not in before:
                child.kill()
        with pytest.raises(DataError, match="ended from outside"):
            list(reading)
        assert next(broken.read(source, [np.array([3])])).rows.tolist() == [3]
