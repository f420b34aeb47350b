"""python -m index_build is holdfast index."""

import os
import sys

from holdfast.environment import prepare_computing

if __name__ == "__main__":
    prepare_computing(os.environ)  # before numpy, faiss and onnxruntime are loaded
    from holdfast.index_build.cli import main

    sys.exit(main())
