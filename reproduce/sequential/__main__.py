import os
import sys

from holdfast.environment import prepare_computing
from holdfast.exit_status import run_main

if __name__ == "__main__":
    prepare_computing(os.environ)  # before torch is loaded
    sys.exit(run_main("reproduce.sequential", "reproduce.sequential.cli"))
