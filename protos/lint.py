"""buf lint over protos/, without a network."""

import shutil
import subprocess
import sys
from pathlib import Path

from holdfast.protos.generate import ROOT


def find_buf() -> Path:
    """The program buf.

    Raises:
        FileNotFoundError: it is not installed; it comes with the 'dev' extra.

    """
    beside = Path(sys.executable).with_name("buf")
    found = str(beside) if beside.exists() else shutil.which("buf")
    if found is None:
        raise FileNotFoundError("buf is not installed; it comes with the 'dev' extra: make .venv/.dev")
    return Path(found)


def lint() -> str:
    """What `buf lint` has to say of this checkout, with the rules of its buf.yaml; empty where all is well.

    Raises:
        FileNotFoundError: buf is not installed.

    """
    checkout = ROOT.resolve().parent  # a link leads here from holdfast/
    result = subprocess.run([find_buf(), "lint"], cwd=checkout, capture_output=True, text=True, check=False)  # noqa: S603
    return "" if result.returncode == 0 else result.stdout + result.stderr


def main() -> int:
    """Print the findings; exit status 1 if there are any."""
    findings = lint()
    print(findings or "buf lint: clean")
    return 1 if findings else 0
