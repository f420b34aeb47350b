"""python deploy/install.py EXTRA[,EXTRA]: install this checkout with its extras, and show how far it is.

make runs it by the Python of the environment that it installs into. pip would compile all that it has installed to byte code,
most of which no program here imports, in half of its time; Python compiles and keeps a module when it is first imported. What
pip says is shown in one line: the package that it looks up or fetches, and how much it has; while it unpacks it says nothing,
and the packages that are installed are counted.
"""

import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = Path(sysconfig.get_path("purelib"))
POLL_S = 0.5
SAY_EVERY_S = 5.0
"""Seconds between two lines where the output is no terminal."""
FETCHES = ("Downloading ", "Using cached ")
SIZE = re.compile(r"\(([0-9.]+) (bytes|kB|MB|GB)\)")
UNITS = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}
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
    with tempfile.TemporaryDirectory() as folder:
        said, errors = Path(folder, "said"), Path(folder, "errors")
        # pip appends and this process reads: with one file position between them, a line could be written over another.
        with said.open("ab") as out, errors.open("ab") as err, subprocess.Popen(pip, stdout=out, stderr=err) as process:
            while process.poll() is None:
                progress.show(f"installing {sys.argv[1]}: {state(lines(said), len(installed() - before))}")
                time.sleep(POLL_S)
        complaints = [line for line in lines(errors) if not line.startswith(NOISE)]
        if process.returncode != 0:
            print("\n".join(["", *lines(said)[-5:], *complaints]), file=sys.stderr)
            return process.returncode
        fetched = format_bytes(sum(map(size_of, lines(said))))
    progress.show(f"installed {sys.argv[1]}: {len(installed() - before)} packages, {fetched} fetched", last=True)
    return 0


def state(said: Sequence[str], done: int) -> str:
    """What pip does now, by what it has said so far; `done` packages are unpacked."""
    found, fetched = 0, 0.0
    doing = "asking what is needed"
    for line in map(str.strip, said):
        if line.startswith("Installing collected packages: "):
            names = line.removeprefix("Installing collected packages: ").split(", ")
            now = f": {names[done]}" if done < len(names) else ""
            return f"unpacking, {done} of {len(names)} packages{now}"
        if line.startswith("Installing build dependencies"):
            doing = "fetching what builds it"
        elif line.startswith("Collecting "):
            found += 1
            doing = f"looking up {line.split()[1]}"
        elif line.startswith(FETCHES):
            fetched += size_of(line)
            doing = f"fetching {' '.join(line.split()[1:])}".replace("fetching cached", "taking")
    return f"{doing}; {found} packages so far, {format_bytes(fetched)}" if found else doing


def size_of(line: str) -> float:
    """Bytes of the file that pip says it fetches, or 0: "Downloading torch-2.13.0-cp311-cp311-linux_x86_64.whl (196.7 MB)"."""
    found = SIZE.search(line) if line.lstrip().startswith(FETCHES) else None
    return float(found[1]) * UNITS[found[2]] if found else 0.0


def format_bytes(size: float) -> str:
    """In MB, as pip counts: 1,000 kB."""
    return f"{size / 1e6:,.0f} MB"


def lines(file: Path) -> list[str]:
    """All that another process has written so far."""
    return file.read_text(errors="replace").splitlines()


if __name__ == "__main__":
    sys.exit(main())
