"""python -m bench.gpu, but for its steps: they run in this process, one after the other, which imports torch once."""

import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import SimpleNamespace

from bench.gpu import pipeline
from bench.gpu.__main__ import main as run_bench


class InThisProcess:
    """As much of Popen as a pipeline needs, for python -m MODULE."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.arguments = list(command[2:])
        os.environ.update(env)

    def wait(self) -> int:
        before, sys.argv = sys.argv, self.arguments
        try:
            runpy.run_module(self.arguments[0], run_name="__main__", alter_sys=True)
        except SystemExit as end:
            return int(end.code or 0)
        finally:
            sys.argv = before
        return 0


if __name__ == "__main__":
    os.environ["BENCH_IS_PREPARED"] = "1"  # no step begins itself again
    pipeline.subprocess = SimpleNamespace(Popen=InThisProcess, TimeoutExpired=subprocess.TimeoutExpired)
    sys.exit(run_bench())
