"""python -m trainer where holdfast is installed: the same as holdfast train.

A checkout has a folder of this name, and another distribution may bring one: such a package is found before this file. Only a
folder without __init__.py is not, so that its modules are made importable here.
"""

import sys
from pathlib import Path

__path__ = [str(folder) for folder in (Path(entry, "trainer") for entry in sys.path) if folder.is_dir()]

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the current folder, whose own holdfast.py is not this one
    from holdfast.cli import main

    sys.exit(main(["train", *sys.argv[1:]]))
