"""What is written is on the disk, its name included, when a call returns."""

import os
from pathlib import Path

from holdfast.bundle.writer import BundleWriter
from holdfast.files import make_directory, write_atomically
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
