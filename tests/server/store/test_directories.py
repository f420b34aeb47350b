"""Which directories become a store: empty ones, and those of a creation that was cut short; none that another thing is in."""

import asyncio
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from holdfast.server.store.errors import JournalDamagedError, StoreError
from holdfast.server.store.journal.creation import BUNDLES, FILE
from holdfast.server.store.journal.lock import LOCK
from tests.bundles import write_coloured_bundle
from tests.server.store.stores import ANNA, new, opened, running

KILLED = """
    import os, signal, sys
    from pathlib import Path
    from holdfast.server.store.journal.journal import ChangeJournal
    Path.rename = lambda self, target: os.kill(os.getpid(), signal.SIGKILL)
    ChangeJournal.open(Path(sys.argv[1]))
"""
"""Begins a store, and is killed just before its journal is there."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coloured_bundle(tmp_path_factory.mktemp("bundle"))


def everything(directory: Path) -> dict[str, bytes]:
    files = [path for path in directory.rglob("*") if path.is_file() and path.name != LOCK]
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


async def used(store: Path, bundle: Path, *, folded: bool) -> None:
    async with running(store, bundle) as run:
        await run.store.add(new("red", 3), "one", ANNA)
        if folded:
            await run.store.compact()


@pytest.mark.parametrize("folded", [True, False])
async def test_a_journal_that_is_empty_begins_no_new_store(tmp_path: Path, bundle: Path, *, folded: bool) -> None:
    await used(tmp_path / "store", bundle, folded=folded)
    (tmp_path / "store" / FILE).write_bytes(b"")
    before = everything(tmp_path / "store")
    with pytest.raises(JournalDamagedError, match=FILE):
        opened(tmp_path / "store", bundle)
    assert everything(tmp_path / "store") == before


async def test_a_journal_that_is_gone_takes_no_fold_with_it(tmp_path: Path, bundle: Path) -> None:
    await used(tmp_path / "store", bundle, folded=True)
    journal = (tmp_path / "store" / FILE).read_bytes()
    (tmp_path / "store" / FILE).unlink()
    for _ in range(2):
        with pytest.raises(JournalDamagedError, match=FILE):
            opened(tmp_path / "store", bundle)
    assert any((tmp_path / "store" / BUNDLES).iterdir())
    (tmp_path / "store" / FILE).write_bytes(journal)
    async with running(tmp_path / "store", bundle) as run:
        assert 62 in run.ids()


async def test_changes_of_the_write_ahead_file_alone_are_not_thrown_away(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / f"{FILE}-wal").write_bytes(b"changes of a server that was killed")
    with pytest.raises(JournalDamagedError, match=FILE):
        opened(tmp_path / "store", bundle)
    assert everything(tmp_path / "store")


async def test_a_creation_that_was_killed_is_begun_again(tmp_path: Path, bundle: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "store")]
    ended = await asyncio.to_thread(subprocess.run, command, check=False, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    async with running(tmp_path / "store", bundle) as run:
        await run.store.add(new("red", 3), "one", ANNA)
    assert set(everything(tmp_path / "store")) == {FILE}
    async with running(tmp_path / "store", bundle) as run:
        assert 62 in run.ids()


async def test_a_folder_of_other_files_becomes_no_store(tmp_path: Path, bundle: Path) -> None:
    photos = tmp_path / "photos"
    (photos / BUNDLES / "shipped").mkdir(parents=True)
    (photos / "cat.jpeg").write_bytes(b"a cat")
    with pytest.raises(StoreError, match=r"cat\.jpeg"):
        opened(photos, bundle)
    assert sorted(path.name for path in photos.iterdir()) == [BUNDLES, "cat.jpeg"]


async def test_a_new_volume_becomes_a_store_and_a_store_may_hold_notes(tmp_path: Path, bundle: Path) -> None:
    store = tmp_path / "volume"
    for name in ("lost+found", ".snapshot"):
        (store / name).mkdir(parents=True)
    await used(store, bundle, folded=False)
    (store / "README").write_text("what this is")
    async with running(store, bundle) as run:
        assert 62 in run.ids()
