"""A virtual environment for each peer, made when it is first asked for, of pinned requirements: their pins exclude each other.

It is kept below a cache folder, by what its requirements and this Python are, so a change of either makes another one.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from holdfast.errors import HoldfastError

REQUIREMENTS = Path(__file__).parent / "requirements"
MADE = "made"
MAKE_TIMEOUT_S = 1200


class NotInstalledError(HoldfastError):
    """A peer cannot be installed on this machine; the message says why."""


def default_cache() -> Path:
    """Where environments are kept if nothing else is said."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holdfast-bench"


def python_of(name: str, cache: Path) -> Path:
    """The Python of the environment of requirements/NAME.txt; of this environment where the name is empty.

    Raises:
        NotInstalledError: it could not be made. What pip said is in a file beside it.

    """
    if not name:
        return Path(sys.executable)
    wanted = (REQUIREMENTS / f"{name}.txt").read_bytes()
    key = hashlib.sha256(wanted + sys.version.encode()).hexdigest()[:12]
    folder = cache / f"{name}-{key}"
    python = folder / "bin" / "python"
    if not (folder / MADE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        cache.mkdir(parents=True, exist_ok=True)
        _make(name, folder, cache / f"{name}.log")
    return python


def _make(name: str, folder: Path, log: Path) -> None:
    python, requirements = folder / "bin" / "python", REQUIREMENTS / f"{name}.txt"
    venv: list[object] = [sys.executable, "-m", "venv", folder]
    if uv := shutil.which("uv"):
        install: list[object] = [uv, "pip", "install", "--quiet", "--python", python, "--requirement", requirements]
        commands = [[*venv, "--without-pip"], install]
    else:
        commands = [venv, [python, "-m", "pip", "install", "--quiet", "--requirement", requirements]]
    with log.open("wb") as output:
        for command in commands:
            try:
                done = subprocess.run([*map(str, command)], stdout=output, stderr=output, timeout=MAKE_TIMEOUT_S, check=False)
            except subprocess.TimeoutExpired:
                raise NotInstalledError(f"{name} was not installed in {MAKE_TIMEOUT_S} s") from None
            if done.returncode:
                lines = log.read_text(errors="replace").strip().splitlines() or ["without a word"]
                raise NotInstalledError(f"{name} cannot be installed here: {lines[-1].strip()} (all of it: {log})")
    (folder / MADE).touch()
