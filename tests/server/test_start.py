"""What is cheap to find is found before a bundle is opened: here there is none, and the refusal is about something else."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import HoldfastError
from holdfast.server.run import check_cheap
from holdfast.server.settings import Settings
from tests.refusals import one_line
from tests.server.access.certificates import Authority
from tests.server.access.tokens import add
from tests.server.running import REPOSITORY


def settings(folder: Path, **others: Any) -> Settings:
    return Settings(**{"bundle": folder / "none", "port": 0, "metrics_port": 0, "admin_port": 0} | others)


def files(folder: Path) -> dict[str, Path]:
    """Files that a server can use, by the names of its settings."""
    chain, key = Authority(folder).issue("server")
    add(folder / "tokens.json", "anna")
    return {"token_file": folder / "tokens.json", "tls_cert": chain, "tls_key": key, "tls_client_ca": folder / "authority.pem"}


def test_what_can_be_used_is_let_through(tmp_path: Path) -> None:
    check_cheap(settings(tmp_path, store=tmp_path / "store", port_file=tmp_path / "new" / "ports", **files(tmp_path)))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", ["token_file", "tls_cert", "tls_key", "tls_client_ca"])
@pytest.mark.parametrize("missing", [True, False])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, name: str, *, missing: bool) -> None:
    usable = files(tmp_path)
    if missing:
        usable[name].unlink()
    else:
        usable[name].write_text("something else")
    with pytest.raises(HoldfastError, match=usable[name].name):
        check_cheap(settings(tmp_path, **usable))


def test_files_of_the_admin_service_alone_are_looked_at_too(tmp_path: Path) -> None:
    with pytest.raises(HoldfastError, match=r"admins\.json"):
        check_cheap(settings(tmp_path, admin_token_file=tmp_path / "admins.json"))


@pytest.mark.parametrize("name", ["canary", "shadow", "port_file"])
def test_a_path_that_will_be_needed_is_looked_at(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("something else")
    for path in (
        tmp_path / "file" / "below",
        *([tmp_path] if name == "port_file" else [tmp_path / "file", tmp_path / "nothing"]),
    ):
        with pytest.raises(HoldfastError, match=path.name):
            check_cheap(settings(tmp_path, **{name: path}))
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("others", [{"admin_insecure": True, "admin_host": "0.0.0.0"}, {"store": Path("store")}])  # noqa: S104
def test_an_admin_service_for_everybody_is_refused(tmp_path: Path, others: dict[str, Any]) -> None:
    with pytest.raises(HoldfastError, match="--admin-insecure"):
        check_cheap(settings(tmp_path, **others))


@pytest.mark.parametrize("name", ["port", "metrics_port", "admin_port"])
def test_a_port_that_is_taken_is_said(tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        with pytest.raises(HoldfastError, match=f"cannot listen on 127.0.0.1:{taken}"):
            check_cheap(settings(tmp_path, admin_insecure=True, **{name: taken}))


def test_the_command_says_it_in_one_line_and_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpeg").write_bytes(b"a cat")
    command = [sys.executable, "-m", "server", str(tmp_path / "none"), "--store", str(tmp_path / "photos"), "--admin-insecure"]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 2, ended.stderr
    assert "cat.jpeg" in one_line(ended.stderr)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpeg"]
