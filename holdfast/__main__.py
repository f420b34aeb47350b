"""python -m holdfast COMMAND is holdfast COMMAND."""

import sys

from holdfast.cli import main

if __name__ == "__main__":
    sys.exit(main())
