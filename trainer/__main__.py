import os
import sys

# OpenMP's threads spin while they wait, and what they burn is lost to whoever shares the machine. They read this once,
# when torch is loaded, so it must come first; what the environment says already stands.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

from holdfast.trainer.cli import main

if __name__ == "__main__":
    sys.exit(main())
