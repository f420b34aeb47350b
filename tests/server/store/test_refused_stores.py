"""A store that a server cannot have: one line that says why, and whoever has it goes on."""

import subprocess
import sys
from pathlib import Path

from holdfast.protos.holdfast.admin.v1 import admin_pb2 as pb
from holdfast.protos.holdfast.admin.v1 import exemplar_pb2 as ex
from tests.bundles import write_coloured_bundle
from tests.refusals import one_line
from tests.server.api.admin import Operator
from tests.server.running import REPOSITORY, Process
from tests.server.tiny import coloured, raw


def refused(bundle: Path, store: Path) -> str:
    """What a server says that does not start."""
    command = [sys.executable, "-m", "server", "--bundle", str(bundle), "--store", str(store), "--admin-insecure"]
    ports = ["--port", "0", "--metrics-port", "0", "--admin-port", "0"]
    ended = subprocess.run([*command, *ports], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 2, ended.stderr
    one_line(ended.stderr)
    return ended.stderr


def served(bundle: Path, scratch: Path, processes: list[Process]) -> tuple[Process, Operator]:
    flags = ("--store", str(scratch / "store"), "--admin-port", "0", "--admin-insecure", "--no-judge")
    process = Process(bundle, scratch, None, *flags)
    processes.append(process)
    return process, Operator(process.admin_address, None)


def reds(request_id: str) -> pb.AddExemplarsRequest:
    exemplars = [ex.NewExemplar(image=raw(image), label="red") for image in coloured(0, 3, seed=1)]
    return pb.AddExemplarsRequest(exemplars=exemplars, request_id=request_id)


def test_a_second_server_on_a_store_is_refused_and_the_first_goes_on(
    tiny_bundle: Path, tmp_path: Path, processes: list[Process]
) -> None:
    first, operator = served(tiny_bundle, tmp_path, processes)
    operator.AddExemplars(reds("one"))
    said = refused(tiny_bundle, tmp_path / "store")
    assert f"process {first.popen.pid}" in said
    assert str(tmp_path / "store") in said
    operator.AddExemplars(reds("two"))
    assert operator.GetStatus(pb.GetStatusRequest()).exemplars == 66


def test_a_store_of_another_bundle_or_a_damaged_one_is_refused(
    tiny_bundle: Path, tmp_path: Path, processes: list[Process]
) -> None:
    first, operator = served(tiny_bundle, tmp_path, processes)
    operator.AddExemplars(reds("one"))
    assert first.end()[0] == 0
    other = write_coloured_bundle(tmp_path / "other", per_class=10)
    assert str(tmp_path / "store") in refused(other, tmp_path / "store")
    (tmp_path / "ports.json").unlink()
    again, operator = served(tiny_bundle, tmp_path, processes)  # the refusal has changed nothing
    assert operator.GetStatus(pb.GetStatusRequest()).exemplars == 63
    assert again.end()[0] == 0
    (tmp_path / "store" / "journal.sqlite").write_bytes(b"not a database at all" * 400)
    assert "journal.sqlite" in refused(tiny_bundle, tmp_path / "store")
