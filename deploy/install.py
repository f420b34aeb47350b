"""python deploy/install.py EXTRA[,EXTRA]: install this checkout with its extras, and show how far it is.

make runs it by the Python of the environment that it installs into. pip would compile all that it has installed to byte code,
most of which no program here imports, in half of its time; Python compiles and keeps a module when it is first imported. While
pip unpacks, it says nothing: here the packages that are installed are counted.
"""

import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[1]
PACKAGES = Path(sysconfig.get_path("purelib"))
POLL_S = 0.5
SAY_EVERY_S = 10.0
"""Seconds between two lines where the output is no terminal."""
NOISE = "WARNING: Location"
"""How pip begins a line for each package that an additional index does not have."""


class InstallProgress:
    """A line that is written over on a terminal; elsewhere a line now and then."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.said = self.begun - SAY_EVERY_S

    def show(self, text: str, *, last: bool = False) -> None:
        """Write `text` and the seconds so far, where a line is due."""
        now = time.monotonic()
        line = f"{text} ({now - self.begun:.0f} s)"
        if sys.stdout.isatty():
            print(f"\r{line:<79.79}", end="\n" if last else "", flush=True)
        elif last or now - self.said >= SAY_EVERY_S:
            print(line, flush=True)
            self.said = now


def installed() -> set[str]:
    """The packages that pip has unpacked to the end, by the name of their metadata's folder."""
    return {path.parent.name for path in PACKAGES.glob("*.dist-info/INSTALLER")}


def main() -> int:
    """Install; returns pip's exit status."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    pip = [sys.executable, "-u", "-m", "pip", "install", "--no-compile", "--progress-bar", "off", "--disable-pip-version-check"]
    pip += ["--constraint", str(ROOT / "requirements.lock"), "--editable", f"{ROOT}[{sys.argv[1]}]"]
    before, progress = installed(), InstallProgress()
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(pip, stdout=said, stderr=errors) as process:
            while process.poll() is None:
                progress.show(f"installing {sys.argv[1]}: {state(said, len(installed() - before))}")
                time.sleep(POLL_S)
        complaints = [line for line in lines(errors) if not line.startswith(NOISE)]
        if process.returncode != 0:
            print("\n".join(["", *lines(said)[-5:], *complaints]), file=sys.stderr)
            return process.returncode
    progress.show(f"installed {sys.argv[1]}: {len(installed() - before)} packages", last=True)
    return 0


def state(said: IO[str], done: int) -> str:
    """Where pip is, by what it has said so far."""
    heard = lines(said)
    for line in reversed(heard):
        if line.startswith("Installing collected packages: "):
            return f"{done} of {line.count(',') + 1} packages"
    found = sum(line.lstrip().startswith("Collecting ") for line in heard)
    return f"{found} packages found"


def lines(file: IO[str]) -> list[str]:
    """All that was written so far by another process."""
    file.seek(0)
    return file.read().splitlines()


if __name__ == "__main__":
    sys.exit(main())
