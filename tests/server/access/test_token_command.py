"""holdfast token, as it is typed."""

import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from holdfast.cli import main
from holdfast.server.access.editing import read_for_editing
from holdfast.server.access.token_file import TokenFile


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOLDFAST_TOKEN_FILE", raising=False)


def test_a_token_is_printed_once_and_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = ["--file", str(tmp_path / "tokens.json")]
    assert main(["token", "add", "camera", "--scope", "classify", "--scope", "embed", "--expires", "90d", *file]) == 0
    token = capsys.readouterr().out.strip()  # and nothing else, so that it can be written to a file
    record = TokenFile(tmp_path / "tokens.json").find(token)
    assert record is not None
    assert record.scopes == {"classify", "embed"}
    assert record.expires is not None
    assert abs(record.expires - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=1)
    assert main(["token", "list", "--json", *file]) == 0
    shown = capsys.readouterr().out
    assert [row["name"] for row in json.loads(shown)] == ["camera"]
    assert main(["token", "list", *file]) == 0
    shown += capsys.readouterr().out
    assert token not in shown
    assert record.sha256 not in shown
    assert main(["token", "remove", "camera", *file]) == 0
    assert TokenFile(tmp_path / "tokens.json").find(token) is None


def test_a_token_is_written_for_its_owner_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens, out = tmp_path / "tokens.json", tmp_path / "camera.token"
    typed = ["token", "add", "--scope", "classify", "--file", str(tokens), "--out", str(out)]
    before = os.umask(0)  # the most that a shell would allow
    try:
        assert main([*typed, "camera"]) == 0
    finally:
        os.umask(before)
    token = out.read_text().strip()
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert TokenFile(tokens).find(token) is not None
    printed = capsys.readouterr()
    assert token not in printed.out + printed.err
    assert main([*typed, "another"]) == 2  # never in the place of a token that is in use
    assert out.read_text().strip() == token
    assert [record.name for record in read_for_editing(tokens).tokens] == ["camera"]
    out.unlink()
    assert main([*typed, "camera"]) == 2  # the name is taken: there is no token, and no file of one
    assert not {path.name for path in tmp_path.iterdir()} - {"tokens.json", ".tokens.json.lock"}


@pytest.mark.parametrize(
    "typed",
    [
        ["add", "camera"],
        ["add", "camera", "--scope", "root"],
        ["add", "a:b", "--scope", "admin"],
        ["add", "camera", "--scope", "admin", "--expires", "0d"],
        ["add", "camera", "--scope", "admin", "--expires", "tomorrow"],
        ["add", "camera", "--scope", "admin", "--expires", "999999w"],
        ["remove", "camera"],
        ["list"],
        ["migrate"],
    ],
)
def test_wrong_usage_is_refused_in_words(tmp_path: Path, typed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(["token", *typed, "--file", str(tmp_path / "tokens")])
    except SystemExit as end:
        status = end.code
    assert status == 2
    error = capsys.readouterr().err
    assert error
    assert "Traceback" not in error
    assert not (tmp_path / "tokens").exists()


def test_the_file_may_be_named_by_the_variable_of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["token", "list"])
    assert caught.value.code == 2
    monkeypatch.setenv("HOLDFAST_TOKEN_FILE", str(tmp_path / "tokens"))
    assert main(["token", "add", "camera", "--scope", "classify"]) == 0
    assert (tmp_path / "tokens").exists()


def test_it_needs_no_model_and_no_grpc(tmp_path: Path) -> None:
    code = f"""
        import sys
        from holdfast.cli import main
        status = main(["token", "add", "camera", "--scope", "classify", "--file", {str(tmp_path / "tokens")!r}])
        heavy = {{"grpc", "onnxruntime", "faiss", "torch"}} & set(sys.modules)
        sys.exit(status or (str(heavy) if heavy else 0))
    """
    lines = "\n".join(line.strip() for line in code.splitlines())
    subprocess.run([sys.executable, "-c", lines], env=os.environ, check=True, capture_output=True)
