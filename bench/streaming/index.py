"""How fast photographs in shards become an index, decoding included, and how much memory that takes.

The set is made of a folder of photographs (`bench.streaming.photos`). Memory is as of `bench.indexing.build`: the peak of this
process, and so many times that of the largest of those that decode and embed.

    python -m bench.streaming.index --photos DIR [--images 100000] [--processes 2] [--bundle DIR] [--shards DIR]
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from bench.harness.report import Target, run_benchmark, show, write_json
from bench.indexing.build import peak_resident_mb
from bench.streaming.photos import write_shards
from holdfast.flags import whole_number
from holdfast.index_build.adapting.adaptation import IndexChanges
from holdfast.index_build.adapting.run import SetOptions, adapt_index
from holdfast.index_build.options import IndexOptions

BOUND_MB = 1_200


def main() -> int:
    """Runs the benchmark. Returns 0 where the target is met, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.streaming.index", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR", help="photographs that the set is made of")
    parser.add_argument("--images", type=whole_number(1_000), default=100_000, help="of the set (default: %(default)s)")
    parser.add_argument("--side", type=whole_number(16), default=256, help="of the photographs (default: %(default)s)")
    parser.add_argument("--processes", type=whole_number(1), default=2, help="that decode and embed (default: %(default)s)")
    parser.add_argument(
        "--bundle", type=Path, default=Path("bundles/cifar10-small"), help="whose encoder (default: %(default)s)"
    )
    parser.add_argument("--shards", type=Path, metavar="DIR", help="where the set is kept, or lies already (default: nowhere)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        shards = options.shards or Path(place) / "shards"
        write_shards(options.photos, shards, options.images, options.side)
        how = IndexOptions(processes=options.processes, threads=options.processes, command="bench.streaming.index")
        began = time.perf_counter()
        adapt_index(options.bundle, Path(place) / "new", SetOptions(data=str(shards)), IndexChanges(), how)
        seconds, peak = time.perf_counter() - began, peak_resident_mb(options.processes)
    target = Target("peak resident MB", peak, BOUND_MB, at_least=False)
    rows = [
        ["photographs", f"{options.images:,} of {options.side} x {options.side}"],
        ["processes", str(options.processes)],
        ["seconds", f"{seconds:.1f}"],
        ["images a second, audit included", f"{options.images / seconds:,.0f}"],
        ["peak resident MB", f"{peak:.0f}"],
    ]
    show("index of photographs in shards", ["what", "measured"], rows, target)
    if options.json:
        numbers = {"images": options.images, "seconds": seconds, "peak_mb": peak}
        write_json(options.json, "streaming_index", numbers, target=target)
    return 0 if target.met else 1


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
