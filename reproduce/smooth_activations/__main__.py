"""python -m reproduce.smooth_activations."""

import sys

from reproduce.smooth_activations.pipeline import main

if __name__ == "__main__":
    sys.exit(main())
