"""`python -m index_build BUNDLE`."""

import sys

from holdfast.index_build.cli import main

if __name__ == "__main__":
    sys.exit(main())
