"""python -m trainer is holdfast train."""

import os
import sys

from holdfast.environment import prepare_computing

if __name__ == "__main__":
    prepare_computing(os.environ)  # before torch is loaded
    from holdfast.trainer.cli import main

    sys.exit(main())
