"""Whether the server's resident memory stays where it is: after 10,000 requests against after 1,000.

The requests are a mixture: raw pixels, PNG files, calls of many images, neighbours asked for, and images that are refused,
since what is freed wrongly is most often freed wrongly on the way out of an error.

    python -m bench.memory --bundle DIR [--requests 10000] [--json FILE]
"""

import argparse
import io
import sys
from pathlib import Path

import numpy as np
import uvloop
from PIL import Image

from bench.harness.environment import restart_with_one_thread
from bench.harness.report import Target, run_benchmark, show, write_json
from bench.harness.server_process import Server, running_server
from bench.load import drive
from holdfast.bundle.reader import read_manifest
from holdfast.console import track
from holdfast.flags import whole_number
from holdfast.protos.holdfast.v1 import holdfast_pb2, image_pb2

BOUND = 1.10
CALLERS = 16


def mixture(shape: tuple[int, int, int], count: int = 64) -> list[bytes]:
    """Serialised Classify calls of every kind, each of its own size."""
    rng = np.random.default_rng(0)
    requests = []
    for number in range(count):
        height, width = (int(side) for side in rng.integers(8, 200, 2))
        picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        fitting = rng.integers(0, 256, shape, dtype=np.uint8)
        raw = image_pb2.RawImage(data=fitting.tobytes(), shape=shape, dtype=image_pb2.DATA_TYPE_UINT8)
        forms = {
            0: [image_pb2.Image(raw=raw)],
            1: [image_pb2.Image(encoded=file.getvalue())],
            2: [image_pb2.Image(raw=raw)] * 16,
            3: [image_pb2.Image(encoded=file.getvalue()[: height * width])],  # cut off: refused
        }
        call = holdfast_pb2.ClassifyRequest(images=forms[number % 4], neighbours=number % 3)
        requests.append(call.SerializeToString())
    return requests


def measure(bundle: Path, requests: int, flags: list[str]) -> list[tuple[int, float]]:
    """(requests so far, resident bytes) after every tenth of the requests."""
    calls = mixture(read_manifest(bundle).input.shape)
    step = requests // 10
    with running_server(bundle, *flags) as server:
        readings = []
        for part in track(range(1, 11), description="asking"):
            load = uvloop.run(drive(server.address, calls, callers=CALLERS, calls=step))
            if load.failed > step // 4 + 1:
                raise RuntimeError(f"{load.failed} of {step} calls failed, more than the mixture's bad images")
            readings.append((part * step, _resident(server)))
    return readings


def _resident(server: Server) -> float:
    return server.scrape()["process_resident_memory_bytes"]


def main() -> int:
    """Runs the benchmark. Returns 0 where the target is met, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="bundle to serve; the demo leaves one")
    parser.add_argument("--requests", type=whole_number(1), default=10_000, help="in all (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("flags", nargs="*", help="more flags of python -m server, after --")
    options = parser.parse_args()
    restart_with_one_thread("bench.memory")
    readings = measure(options.bundle, options.requests, options.flags)
    target = Target("last / first", readings[-1][1] / readings[0][1], BOUND, at_least=False)
    rows = [[f"{count:,}", f"{resident / 2**20:.1f}"] for count, resident in readings]
    show("resident memory of the server", ["requests", "MiB"], rows, target)
    if options.json:
        values = {f"mib_after_{count}": resident / 2**20 for count, resident in readings}
        write_json(options.json, "memory", values, target=target)
    return 0 if target.met else 1


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
