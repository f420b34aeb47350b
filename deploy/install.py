"""python deploy/install.py EXTRA[,EXTRA]: install this checkout with its extras, and show how far it is.

make runs it by the Python of the environment that it installs into. pip compiles what it has installed to byte code, one file
after the other, in half of its time. Here another process compiles each package while pip unpacks the next. pip says nothing
meanwhile; here the packages that are installed are counted.
"""

import csv
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


class Progress:
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


class Compiler:
    """Compiles installed packages to byte code, in processes of its own."""

    def __init__(self, done: set[str]) -> None:
        self.done = done
        self.running: subprocess.Popen[bytes] | None = None

    def compile_new(self) -> None:
        """Compile what has been installed since the last time, unless it is still busy with that."""
        if self.running is None or self.running.poll() is not None:
            self._start(processes=1)

    def finish(self) -> None:
        """Compile all that is left, on every core."""
        for _ in range(2):
            if self.running is not None:
                self.running.wait()
            self._start(processes=0)

    def _start(self, processes: int) -> None:
        new = installed() - self.done
        self.done |= new
        files = [path for name in sorted(new) for path in sources(PACKAGES / name)]
        self.running = None
        if files:
            # Files that do not compile are templates, or for another Python: pip passes over them too.
            command = [sys.executable, "-m", "compileall", "-q", "-q", "-j", str(processes), "-i", "-"]
            self.running = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            with self.running.stdin or tempfile.TemporaryFile() as to:
                to.write("\n".join(files).encode())


def installed() -> set[str]:
    """The packages that pip has unpacked to the end, by the name of their metadata's folder."""
    return {path.parent.name for path in PACKAGES.glob("*.dist-info/INSTALLER")}


def sources(metadata: Path) -> list[str]:
    """The Python files of an installed package."""
    try:
        with (metadata / "RECORD").open(newline="", encoding="utf-8") as file:
            names = [row[0] for row in csv.reader(file) if row]
    except OSError:
        return []
    return [str(PACKAGES / name) for name in names if name.endswith(".py") and not name.startswith("..")]


def main() -> int:
    """Install; returns pip's exit status."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    pip = [sys.executable, "-u", "-m", "pip", "install", "--no-compile", "--progress-bar", "off", "--disable-pip-version-check"]
    pip += ["--constraint", str(ROOT / "requirements.lock"), "--editable", f"{ROOT}[{sys.argv[1]}]"]
    before, progress = installed(), Progress()
    compiler = Compiler(set(before))
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(pip, stdout=said, stderr=errors) as process:
            while process.poll() is None:
                compiler.compile_new()
                progress.show(f"installing {sys.argv[1]}: {state(said, len(installed() - before))}")
                time.sleep(POLL_S)
        complaints = [line for line in lines(errors) if not line.startswith(NOISE)]
        if process.returncode != 0:
            print("\n".join(["", *lines(said)[-5:], *complaints]), file=sys.stderr)
            return process.returncode
    compiler.finish()
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
