"""deploy/install.py: what a person sees while packages are installed."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def install():
    spec = importlib.util.spec_from_file_location("deploy_install", ROOT / "deploy" / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SAID = """\
Obtaining file:///home/somebody/holdfast
  Installing build dependencies: started
  Installing build dependencies: finished with status 'done'
Collecting numpy>=2.2
  Downloading numpy-2.4.0-cp311-cp311-linux_x86_64.whl (16.9 MB)
Requirement already satisfied: pip in ./lib
Collecting torch==2.13.0
  Using cached torch-2.13.0-cp311-cp311-linux_x86_64.whl (196.7 MB)
Collecting tiny
  Downloading tiny-1.0-py3-none-any.whl (512 bytes)
Installing collected packages: numpy, torch, tiny
""".splitlines()


def test_what_is_looked_up_and_fetched_is_named_with_its_size(install):
    seen = [install.state(SAID[:n], 0) for n in range(len(SAID) + 1)]
    assert all(line and "0 packages" not in line for line in seen[:-1])  # never "0 packages found" for half a minute
    assert "numpy" in seen[4]
    assert "16.9 MB" in seen[5]
    assert "17 MB" in seen[5]
    assert "torch" in seen[8]
    assert "2 packages" in seen[8]
    assert "214 MB" in seen[8]


def test_what_is_unpacked_is_counted_and_named(install):
    assert install.state(SAID, 1) == "unpacking, 1 of 3 packages: torch"
    assert install.state(SAID, 3) == "unpacking, 3 of 3 packages"


def test_without_extras_it_says_how_it_is_used():
    run = subprocess.run([sys.executable, str(ROOT / "deploy/install.py")], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "install.py" in run.stderr
