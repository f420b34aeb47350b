"""Bundles put where a server looks for versions."""

import shutil
from pathlib import Path


def put(bundle: Path, versions: Path, name: str) -> Path:
    """Copy a bundle under a hidden name, then rename it, as an operator would."""
    versions.mkdir(exist_ok=True)
    shutil.copytree(bundle, versions / f".{name}.copying")
    return (versions / f".{name}.copying").rename(versions / name)
