"""python -m reproduce.ugan."""

import sys

from reproduce.ugan.pipeline import main

if __name__ == "__main__":
    sys.exit(main())
