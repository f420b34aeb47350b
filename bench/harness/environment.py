"""Threads and kernels of the numerical libraries are fixed by the environment, before anything is imported.

So a benchmark that means one thread starts itself again with the server's own variables: setting them later has no effect,
or half of one.
"""

import argparse
import os
import sys

from bench.harness.report import warn_if_busy
from holdfast.environment import prepare_libraries

# numpy brings its own OpenBLAS, beside the one that OMP_NUM_THREADS governs.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "BENCH_IS_PREPARED": "1"}

IN_A_ROW = "BENCH_IN_A_ROW"
"""Set where another benchmark has just ended: what it left in the load average is no other work."""


def prepared() -> dict[str, str]:
    """The environment of this process, changed so that every library computes on the calling thread with the CPU's kernels."""
    environment = os.environ | ONE_THREAD
    prepare_libraries(environment)
    return environment


def restart_with_one_thread(module: str) -> None:
    """Replaces this process by `python -m module` with the same arguments, unless that was done already."""
    if "BENCH_IS_PREPARED" not in os.environ:
        if IN_A_ROW not in os.environ:
            warn_if_busy(os.getloadavg()[0], os.cpu_count() or 1)
        os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], prepared())  # noqa: S606 - ourselves


def add_precision_flag(parser: argparse.ArgumentParser) -> None:
    """--precision, for benchmarks of what is served."""
    parser.add_argument(
        "--precision",
        choices=("float32", "float16"),
        default="float32",
        help="what a GPU's encoder computes in (default: %(default)s)",
    )


def add_device_flag(parser: argparse.ArgumentParser) -> None:
    """--device, for benchmarks of what runs on either."""
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="cuda is the first GPU in sight (default: %(default)s)"
    )
