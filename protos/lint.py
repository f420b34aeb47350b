"""buf lint over protos/, without a network."""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from holdfast.protos.generate import PACKAGES, ROOT, third_party


def lint() -> str:
    """What `buf lint` has to say with the rules of buf.yaml; empty where all is well.

    buf resolves imports inside its workspace only, so one is laid out for it: our files, and the google.rpc ones of the
    installed googleapis-common-protos as a second, unlinted module.

    Raises:
        FileNotFoundError: buf is not installed; it comes with the 'dev' extra.

    """
    beside = Path(sys.executable).with_name("buf")
    buf = str(beside) if beside.exists() else shutil.which("buf")
    if buf is None:
        raise FileNotFoundError("buf is not installed; it comes with the 'dev' extra: pip install 'holdfast[dev]'")
    with TemporaryDirectory() as folder:
        workspace = Path(folder)
        rules = (ROOT.resolve().parent / "buf.yaml").read_text()  # a link leads here from holdfast/
        second = "  - path: protos\n  - path: google\n    lint:\n      ignore: [google]\n"
        (workspace / "buf.yaml").write_text(rules.replace("  - path: protos\n", second))
        ours = shutil.ignore_patterns("*.py*", "__pycache__")
        for package in PACKAGES:
            shutil.copytree(ROOT / package, workspace / "protos" / package, ignore=ours, dirs_exist_ok=True)
        rpc = Path("google/rpc")
        (workspace / "google" / rpc).mkdir(parents=True)
        shutil.copy(third_party() / rpc / "status.proto", workspace / "google" / rpc)
        result = subprocess.run([buf, "lint"], cwd=workspace, capture_output=True, text=True, check=False)  # noqa: S603
    return "" if result.returncode == 0 else result.stdout + result.stderr


def main() -> int:
    """Print the findings; exit status 1 if there are any."""
    findings = lint()
    print(findings or "buf lint: clean")
    return 1 if findings else 0
