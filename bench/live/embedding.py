"""A process that only embeds so many images a second, at the priority of a store's: what cores and memory cost callers by it.

    python -m bench.live.embedding --bundle DIR [--rate 200]

It prints a line once it has begun, and ends when it is ended.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bench.harness.environment import restart_with_one_thread
from holdfast.bundle.reader import ENCODER, read_manifest
from holdfast.flags import positive
from holdfast.model.encoder.onnx import OnnxEncoder
from holdfast.server.monitor.probes.priority import lower_thread_priority

BATCH = 20


@contextmanager
def embedding_beside(bundle: Path, rate: float) -> Iterator[None]:
    """Such a process runs meanwhile."""
    command = [sys.executable, "-m", "bench.live.embedding", "--bundle", str(bundle), "--rate", str(rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101 - asked for
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def main() -> int:
    """Embeds until it is ended."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.live.embedding", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="whose encoder it is")
    parser.add_argument("--rate", type=positive, default=200.0, help="images a second (default: %(default)s)")
    options = parser.parse_args()
    lower_thread_priority()
    encoder = OnnxEncoder(options.bundle / ENCODER)
    images = np.random.default_rng(0).integers(0, 256, (BATCH, *read_manifest(options.bundle).input.shape), dtype=np.uint8)
    encoder.embed(images)
    print("embedding", flush=True)
    following = time.monotonic()
    while True:
        encoder.embed(images)
        following += BATCH / options.rate
        time.sleep(max(0.0, following - time.monotonic()))


if __name__ == "__main__":
    restart_with_one_thread("bench.live.embedding")
    sys.exit(main())
