import os
import sys

# OpenMP's threads spin while they wait, and read this once, when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

from reproduce.ssat.cli import main

if __name__ == "__main__":
    sys.exit(main())
