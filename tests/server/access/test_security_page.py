"""The commands of docs/security.md, as they stand there."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.server.running import REPOSITORY, scrape, wait_for
from tests.server.tiny import coloured, png


def commands() -> list[str]:
    """The first block of the page, a command a line."""
    lines = (REPOSITORY / "docs" / "security.md").read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("    "))
    block = lines[first : lines.index("", first)]
    return [line.strip() for line in block]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], "subprocess.CompletedProcess[str]"]:
    for name in ("HOLDFAST_TOKEN", "HOLDFAST_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)

    def run(command: str) -> "subprocess.CompletedProcess[str]":
        # The page's own commands, as a person would type them.
        return subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)  # noqa: S607

    return run


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="the page makes a certificate with openssl")
def test_the_five_commands_work(
    tiny_bundle: Path, tmp_path: Path, shell: Callable[[str], "subprocess.CompletedProcess[str]"]
) -> None:
    here = f"PYTHONPATH={REPOSITORY} {sys.executable} -m holdfast"
    token, certificate, serve, classify, remove = (line.replace("holdfast ", f"{here} ", 1) for line in commands())
    certificate = commands()[1]  # openssl's, in which holdfast is a name
    (tmp_path / "photo.png").write_bytes(png(coloured(1, 1, seed=1)[0]))
    for command in (token, certificate):
        assert (result := shell(command)).returncode == 0, result.stderr
    assert len((tmp_path / "camera-7.token").read_text().split()) == 1
    serve = serve.replace("bundles/cifar10-small", str(tiny_bundle)) + " --port 0 --metrics-port 0 --port-file ports.json"
    with subprocess.Popen(["sh", "-c", f"exec env {serve}"], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as server:  # noqa: S607
        try:
            wait_for(lambda: (tmp_path / "ports.json").exists() or server.poll() is not None, 60)
            assert server.poll() is None, server.communicate()[1]
            where = json.loads((tmp_path / "ports.json").read_text())
            address = where["address"].replace("127.0.0.1", "localhost")
            asked = shell(f"{classify} --address {address}")
            assert asked.returncode == 0, asked.stderr
            assert "green" in asked.stdout
            assert shell(remove).returncode == 0
            wait_for(lambda: 'file="tokens",listener="public",outcome="read"} 1.0' in scrape(where["metrics"]))
            refused = shell(f"{classify} --address {address}")
            assert refused.returncode != 0
            assert "UNAUTHENTICATED" in refused.stderr
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
