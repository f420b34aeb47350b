"""python -m holdfast.evaluation is holdfast evaluate, but that it cannot take gradients from a training run."""

import os
import sys

from holdfast.environment import prepare_computing

if __name__ == "__main__":
    prepare_computing(os.environ)  # before torch is loaded
    from holdfast.evaluation.cli import main

    sys.exit(main())
