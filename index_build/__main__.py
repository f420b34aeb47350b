"""python -m index_build is holdfast index."""

import os
import sys

from holdfast.environment import prepare_computing
from holdfast.exit_status import run_main

if __name__ == "__main__":
    prepare_computing(os.environ)  # before numpy, faiss and onnxruntime are loaded
    sys.exit(run_main("holdfast index", "holdfast.index_build.cli"))
