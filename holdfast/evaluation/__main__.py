import os
import sys

# As in trainer/__main__.py: threads that wait must not burn what other processes need.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

from holdfast.evaluation.cli import main

if __name__ == "__main__":
    sys.exit(main())
