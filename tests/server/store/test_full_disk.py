"""A store whose disk has no room: a change is refused as a whole, answers go on, and changes too once there is room."""

import asyncio
import logging
import resource
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from holdfast.protos.holdfast.admin.v1 import admin_pb2 as pb
from holdfast.protos.holdfast.admin.v1 import exemplar_pb2 as ex
from holdfast.protos.holdfast.v1 import holdfast_pb2
from holdfast.server.store.errors import StoreFullError
from holdfast.server.store.journal.creation import BUNDLES
from tests.bundles import write_coloured_bundle
from tests.server.api.admin import Operator
from tests.server.running import LoopThread, Process, refusal, start
from tests.server.store.stores import ANNA, new, running, same_as_anew, until
from tests.server.tiny import coloured, raw
from tests.small_disk import PAGE, SmallDisk, small_disk

LIMITED = """
    import resource, runpy, sys
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    sys.argv = ["server", *sys.argv[1:]]
    runpy.run_module("server", run_name="__main__", alter_sys=True)
"""
"""A server that can write no file of more than 200 kB, as on a full disk or beyond a quota."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as mounted:
        yield mounted


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coloured_bundle(tmp_path_factory.mktemp("bundle"))


def batch(request_id: str, count: int, seed: int) -> pb.AddExemplarsRequest:
    images = coloured(0, count, seed=seed)
    exemplars = [ex.NewExemplar(image=raw(image), label="red", source=f"{request_id}/{n}") for n, image in enumerate(images)]
    return pb.AddExemplarsRequest(exemplars=exemplars, request_id=request_id)


def answered(stub: Any) -> str:
    reply = stub.Classify(holdfast_pb2.ClassifyRequest(images=[raw(coloured(1, 1, seed=9)[0])]), timeout=30)
    return str(reply.results[0].answer.label.name)


def rows(operator: Operator) -> int:
    return int(operator.GetStatus(pb.GetStatusRequest()).exemplars)


def test_a_server_on_a_full_disk_refuses_changes_and_answers(
    disk: SmallDisk, tiny_bundle: Path, loop_thread: LoopThread
) -> None:
    settings: dict[str, Any] = {
        "store": disk.path / "store",
        "admin_port": 0,
        "admin_insecure": True,
        "judge": False,
        "keep_images": True,
    }
    with ExitStack() as stack:
        served = start(stack, loop_thread, tiny_bundle, **settings)
        operator = Operator(served.app.admin_address, None)
        operator.AddExemplars(batch("before", 3, seed=1))
        disk.fill()
        for _ in range(2):
            error = refusal(partial(operator.AddExemplars, batch("large", 200, seed=2)))
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert str(disk.path / "store") in error.details()
            assert (rows(operator), answered(served.stub)) == (63, "green")
        assert served.metric("holdfast_store_refused_total", error="StoreFullError") == 2
        disk.clear()
        assert not operator.AddExemplars(batch("large", 200, seed=2)).already_applied
        assert rows(operator) == 263
    disk.fill()
    with ExitStack() as stack:  # a full disk is no reason not to serve what is there
        served = start(stack, loop_thread, tiny_bundle, **settings)
        operator = Operator(served.app.admin_address, None)
        assert (rows(operator), answered(served.stub)) == (263, "green")
        disk.clear()
        operator.AddExemplars(batch("after", 3, seed=3))
        assert rows(operator) == 266


def test_a_file_that_may_not_grow_is_no_end_of_the_server(tiny_bundle: Path, tmp_path: Path, processes: list[Process]) -> None:
    command = [sys.executable, "-c", textwrap.dedent(LIMITED)]
    flags = ("--store", str(tmp_path / "store"), "--admin-port", "0", "--admin-insecure", "--no-judge", "--keep-images")
    process = Process(tiny_bundle, tmp_path, command, *flags)
    processes.append(process)
    operator = Operator(process.admin_address, None)
    operator.AddExemplars(batch("before", 3, seed=1))
    error = refusal(partial(operator.AddExemplars, batch("large", 200, seed=2)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (rows(operator), answered(process.stub)) == (63, "green")
    resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    operator.AddExemplars(batch("large", 200, seed=2))
    assert rows(operator) == 263
    status, output = process.end()
    assert status == 0, output


async def test_wherever_the_disk_ends_a_change_is_whole_or_refused(disk: SmallDisk, bundle: Path) -> None:
    room = 0
    async with running(disk.path / "store", bundle) as run:
        await run.store.add(new("red"), "first", ANNA)
        while True:
            disk.fill(room)
            before = run.ids()
            try:
                receipt = await run.store.add(new("blue", 100), "large", ANNA)
            except StoreFullError:
                assert run.ids() == before
                room += PAGE
                continue
            break
        assert room > 0
        assert run.ids() == [*before, *receipt.ids]
        ids = run.ids()
    async with running(disk.path / "store", bundle) as run:
        assert run.ids() == ids


async def test_what_is_too_large_does_not_take_others_with_it(disk: SmallDisk, bundle: Path) -> None:
    async with running(disk.path / "store", bundle) as run:
        await run.store.add(new("red"), "one", ANNA)
        disk.fill(leaving=20 * PAGE)
        small, large = run.store.add(new("red", seed=5), "small", ANNA), run.store.add(new("blue", 600), "large", ANNA)
        receipt, refused = await asyncio.gather(small, large, return_exceptions=True)
        assert isinstance(refused, StoreFullError)
        assert not isinstance(receipt, BaseException)
        assert set(receipt.ids) <= set(run.ids())
        disk.clear()
        receipt = await run.store.add(new("blue", 600), "large", ANNA)
        assert not receipt.repeated
        assert set(receipt.ids) <= set(run.ids())


async def test_wherever_the_disk_ends_a_fold_leaves_nothing_behind(disk: SmallDisk, bundle: Path) -> None:
    store, room, refused = disk.path / "store", 0, 0
    queries = np.concatenate([coloured(label, 4, seed=77) for label in range(3)])
    async with running(store, bundle) as run:
        await run.store.add(new("red", 300), "many", ANNA)
        ids, labels = run.ids(), run.model.classifier.classify(queries).labels
        while True:
            disk.fill(room)
            try:
                await run.store.compact()
            except StoreFullError:
                refused += 1
                room += 2 * PAGE
                assert list((store / BUNDLES).glob("*")) == []
                assert run.ids() == ids
                assert run.metric("holdfast_store_unfolded_rows") == 300
                continue
            break
        assert refused > 5
        assert len(list((store / BUNDLES).iterdir())) == 1
        assert run.ids() == ids
        np.testing.assert_array_equal(run.model.classifier.classify(queries).labels, labels)
        disk.clear()
        await run.store.add(new("blue", 3), "more", ANNA)
        assert same_as_anew(run.model)
        ids = run.ids()
    async with running(store, bundle) as run:
        assert run.ids() == ids


async def test_a_fold_that_fails_says_so_and_is_tried_again(
    disk: SmallDisk, bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(disk.path / "store", bundle, compact_after=20, fold_again_s=0.02) as run:
        await run.store.add(new("red", 15), "one", ANNA)
        disk.fill(leaving=16 * PAGE)
        await run.store.add(new("blue", 6), "two", ANNA)
        await until(lambda: run.metric("holdfast_store_compactions_total", outcome="failed") >= 2)
        assert [record for record in caplog.records if record.levelno >= logging.ERROR and "fold" in record.message]
        assert list((disk.path / "store" / BUNDLES).glob("*")) == []
        assert len(run.ids()) == 81
        disk.clear()
        await run.store.delete([0], "three", ANNA)
        await until(lambda: run.metric("holdfast_store_compactions_total", outcome="done") == 1)
        assert len(run.ids()) == 80
