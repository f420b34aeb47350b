"""python -m reproduce.self_adaptive."""

import sys

from reproduce.self_adaptive.pipeline import main

if __name__ == "__main__":
    sys.exit(main())
