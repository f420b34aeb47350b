"""What is written is on the disk, its name included, when a call returns."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.bundle.writer import BundleWriter
from holdfast.files import make_directory, write_atomically, write_new
from tests.small_disk import small_disk
from tests.tracing import synced, tracing


def test_a_file_and_every_name_that_leads_to_it_reach_the_disk(tmp_path: Path) -> None:
    target = tmp_path / "new" / "newer" / "file.txt"
    with tracing(os.getpid(), tmp_path / "log", "-e", "trace=fsync,fdatasync,rename"):
        write_atomically(target, b"text")
    assert target.read_bytes() == b"text"
    lines = (tmp_path / "log").read_text().splitlines()
    (renamed,) = (place for place, line in enumerate(lines) if "rename(" in line)
    (named,) = (place for place, line in enumerate(lines) if f"<{target.parent}>" in line)
    assert named > renamed
    paths = synced(tmp_path / "log")
    assert {str(tmp_path), str(tmp_path / "new")} <= set(paths)
    assert paths.index(str(target.parent)) > 0  # after the file's own bytes


def test_a_new_file_is_whole_and_takes_nobodys_place(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.txt"
    with tracing(os.getpid(), tmp_path / "log", "-e", "trace=fsync"):
        write_new(target, b"text", mode=0o600)
    assert (target.read_bytes(), stat.S_IMODE(target.stat().st_mode)) == (b"text", 0o600)
    assert {str(tmp_path), str(target.parent)} <= set(synced(tmp_path / "log"))
    for there in (target, target.parent):
        with pytest.raises(FileExistsError, match=there.name):
            write_new(there, b"other")
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]
    assert target.read_bytes() == b"text"


def test_a_directory_that_is_there_costs_nothing(tmp_path: Path) -> None:
    with tracing(os.getpid(), tmp_path / "log", "-e", "trace=fsync"):
        make_directory(tmp_path)
    assert synced(tmp_path / "log") == []


def test_an_adopted_file_is_named_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "old.bin").write_bytes(b"bytes")
    writer = BundleWriter.create(tmp_path / "bundle")
    with tracing(os.getpid(), tmp_path / "log", "-e", "trace=fsync"):
        writer.adopt("report/old.bin", tmp_path / "old.bin")
    assert {str(tmp_path / "bundle"), str(tmp_path / "bundle" / "report")} <= set(synced(tmp_path / "log"))


def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path(os.devnull), tmp_path / "pipe", tmp_path):
        with pytest.raises(FileExistsError) as refused:
            write_atomically(path, b"text")
        assert refused.value.filename == str(path)
    assert (tmp_path / "pipe").is_fifo()
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_is_told_by_the_name_of_the_file(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        target = disk.path / "file.bin"
        write_atomically(target, b"old")
        disk.fill()
        with pytest.raises(OSError, match="No space left") as full:
            write_atomically(target, bytes(2**20))
        assert full.value.filename == str(target)
        assert target.read_bytes() == b"old"
        assert {path.name for path in disk.path.iterdir()} == {"file.bin", "filler"}


@pytest.mark.parametrize("write", [write_atomically, write_new])
def test_an_error_without_a_number_keeps_its_words(
    write: Callable[[Path, bytes], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError("the disk says something of its own")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="something of its own"):
        write(tmp_path / "file", b"text")
    assert list(tmp_path.iterdir()) == []
