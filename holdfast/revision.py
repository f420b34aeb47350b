"""Which code runs: what manifests and reports say of it."""

import subprocess
from pathlib import Path


def commit(folder: Path = Path(__file__).parent) -> str:
    """The commit of the code in `folder`, with "+changes" where files differ from it; "unknown" outside a repository."""
    try:
        head = _git(folder, "rev-parse", "HEAD")
        return head + ("+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603 - fixed words
