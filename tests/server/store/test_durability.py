"""Nothing is acknowledged before the disk has it: commits, and the names of what a store writes."""

import os
import time
from functools import partial
from pathlib import Path

import grpc
import pytest

from holdfast.protos.holdfast.admin.v1 import admin_pb2 as pb
from holdfast.protos.holdfast.admin.v1 import exemplar_pb2 as ex
from holdfast.server.store.errors import StoreError, StoreFullError
from holdfast.server.store.journal.creation import BUNDLES
from holdfast.server.store.journal.database import Database
from tests.bundles import write_coloured_bundle
from tests.server.api.admin import Operator
from tests.server.running import Process, refusal
from tests.server.store.stores import ANNA, new, opened, running
from tests.server.tiny import coloured, raw
from tests.tracing import synced, tracing

CALLS = "fsync,fdatasync"
DELAY_S = 0.7


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coloured_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def process(tiny_bundle: Path, tmp_path: Path, processes: list[Process]) -> Process:
    return served(tiny_bundle, tmp_path, processes)


def served(bundle: Path, scratch: Path, processes: list[Process]) -> Process:
    (scratch / "ports.json").unlink(missing_ok=True)
    flags = ("--store", str(scratch / "store"), "--admin-port", "0", "--admin-insecure", "--no-judge")
    processes.append(Process(bundle, scratch, None, *flags))
    return processes[-1]


def reds(request_id: str) -> pb.AddExemplarsRequest:
    exemplars = [ex.NewExemplar(image=raw(image), label="red") for image in coloured(0, 3, seed=1)]
    return pb.AddExemplarsRequest(exemplars=exemplars, request_id=request_id)


def rows(operator: Operator) -> int:
    return int(operator.GetStatus(pb.GetStatusRequest()).exemplars)


def test_an_acknowledgement_waits_for_the_disk(process: Process, tmp_path: Path) -> None:
    operator = Operator(process.admin_address, None)
    delay = f"inject={CALLS}:delay_exit={DELAY_S * 1e6:.0f}"
    with tracing(process.popen.pid, tmp_path / "log", "-e", f"trace={CALLS}", "-e", delay):
        began = time.monotonic()
        operator.AddExemplars(reds("one"))
        assert time.monotonic() - began >= DELAY_S
    assert str(tmp_path / "store" / "journal.sqlite-wal") in synced(tmp_path / "log")


@pytest.mark.parametrize("killed_at_once", [False, True])
def test_what_the_disk_does_not_take_is_not_acknowledged(
    process: Process, tiny_bundle: Path, tmp_path: Path, processes: list[Process], *, killed_at_once: bool
) -> None:
    operator = Operator(process.admin_address, None)
    operator.AddExemplars(reds("one"))
    with tracing(process.popen.pid, tmp_path / "log", "-e", f"trace={CALLS}", "-e", f"inject={CALLS}:error=EIO"):
        error = refusal(partial(operator.AddExemplars, reds("two")))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert rows(operator) == 63
    if not killed_at_once:
        assert not operator.AddExemplars(reds("two")).already_applied
        assert rows(operator) == 66
    process.discard()  # by SIGKILL
    again = Operator(served(tiny_bundle, tmp_path, processes).admin_address, None)
    # What was written and not synced may be there after all, whole. Sent again, it is there once.
    assert rows(again) in ({63, 66} if killed_at_once else {66})
    again.AddExemplars(reds("two"))
    assert rows(again) == 66


def test_sqlite_is_asked_to_wait_for_each_commit(tmp_path: Path) -> None:
    database = Database(tmp_path / "journal.sqlite")
    assert database.read("PRAGMA journal_mode") == [("wal",)]
    assert database.read("PRAGMA synchronous") == [(2,)]  # FULL
    database.close()


async def test_the_names_of_a_new_journal_reach_the_disk(tmp_path: Path, bundle: Path) -> None:
    store = tmp_path / "new" / "store"
    with tracing(os.getpid(), tmp_path / "log", "-e", f"trace={CALLS}"):
        begun, _ = opened(store, bundle)
    await begun.stop()
    assert {str(tmp_path), str(tmp_path / "new"), str(store)} <= set(synced(tmp_path / "log"))


def test_a_store_whose_name_does_not_reach_the_disk_is_not_opened(tmp_path: Path, bundle: Path) -> None:
    with (
        tracing(os.getpid(), tmp_path / "log", *failing(tmp_path)),
        pytest.raises(StoreError, match="store"),
    ):
        opened(tmp_path / "store", bundle)


@pytest.mark.parametrize("what", [".", BUNDLES, f"{BUNDLES}/.000000000001.partial"])
async def test_a_fold_whose_names_do_not_reach_the_disk_is_not_stood_on(tmp_path: Path, bundle: Path, what: str) -> None:
    store = tmp_path / "store"
    async with running(store, bundle) as run:
        await run.store.add(new("red", 3), "one", ANNA)
        with tracing(os.getpid(), tmp_path / "log", *failing((store / what).absolute())), pytest.raises(StoreFullError):
            await run.store.compact()
        assert run.metric("holdfast_store_unfolded_rows") == 3
        assert list((store / BUNDLES).glob("*")) == []
        await run.store.compact()
        assert run.metric("holdfast_store_unfolded_rows") == 0


def failing(directory: Path) -> tuple[str, ...]:
    """Options for strace by which a directory is never synced, and says so."""
    return ("-P", str(directory), "-e", "trace=fsync", "-e", "inject=fsync:error=EIO")
