"""Exact search over large banks, against the rate at which this device copies memory.

An exact search reads the whole bank, so it cannot be quicker than memory is. For each size and batch: milliseconds a search,
the bytes of the bank read a second, and which share that is of what a large copy moves. Batches of many queries read the bank
once for all of them, and are bound by arithmetic sooner.

    python -m bench.scan [--device cuda] [--rows 50000 1000000 10000000] [--dim 128] [--batches 1 128] [--k 75] [--json FILE]
"""

import argparse
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness.environment import add_device_flag, restart_with_one_thread
from bench.harness.report import Spread, run_benchmark, show, write_json
from bench.harness.timing import seconds_of
from holdfast.flags import whole_number

if TYPE_CHECKING:
    from holdfast.model.encoder.device import Device
    from holdfast.model.retrieval.base import Retriever


@dataclass(frozen=True)
class Scanned:
    """Searches of one size: `milliseconds` each, the median of several, and the share of the copy's bytes a second."""

    rows: int
    batch: int
    milliseconds: float
    low: float
    high: float
    gigabytes_per_second: float
    share_of_copy: float


def measure(
    device: "Device", sizes: list[int], batches: list[int], *, dim: int, k: int, times: int
) -> tuple[float, list[Scanned]]:
    """Bytes a second of a copy on the device, and what became of each size and batch."""
    # Imported here: these libraries read their environment when they are imported, and main sets it first.
    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415

    from bench.harness.vectors import unit_vectors  # noqa: PLC0415
    from holdfast.console import Progress  # noqa: PLC0415
    from holdfast.model.retrieval.base import nearest  # noqa: PLC0415
    from holdfast.trainer.cost.roofline import measure_roofline  # noqa: PLC0415

    copied = measure_roofline(torch.device(device), torch.float32, threads=1).bytes
    found = []
    rng = np.random.default_rng(0)
    with Progress() as progress:
        task = progress.add_task("searching", total=len(sizes) * len(batches))
        for rows in sizes:
            index = indexed(device, rows, dim)
            for batch in batches:
                queries = unit_vectors(rng, batch, dim)
                seconds = [seconds_of(partial(nearest, index, queries, k)) for _ in range(times + 1)]
                spread = Spread.of(seconds[1:])  # the first touches memory for the first time
                rate = 4 * rows * dim / spread.median
                middle, low, high = (1e3 * each for each in (spread.median, spread.low, spread.high))
                found.append(Scanned(rows, batch, middle, low, high, rate / 1e9, rate / copied))
                progress.advance(task)
    return copied, found


def indexed(device: "Device", rows: int, dim: int) -> "Retriever":
    """Random unit vectors, on the device."""
    import numpy as np  # noqa: PLC0415

    from bench.harness.vectors import unit_vectors  # noqa: PLC0415
    from holdfast.model.retrieval.base import Bank  # noqa: PLC0415
    from holdfast.model.retrieval.flat import FlatIndex  # noqa: PLC0415
    from holdfast.model.retrieval.flat_gpu import GpuFlatIndex  # noqa: PLC0415

    vectors = unit_vectors(np.random.default_rng(1), rows, dim)
    index = FlatIndex.build(Bank(vectors, np.arange(rows), np.zeros(rows, dtype=np.int64)))
    return index if device == "cpu" else GpuFlatIndex(index)


def main() -> int:
    """Runs the benchmark. It promises nothing, so it returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.scan", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_device_flag(parser)
    parser.add_argument(
        "--rows",
        type=whole_number(1),
        nargs="+",
        default=[50_000, 1_000_000],
        help="exemplars in the index (default: %(default)s)",
    )
    parser.add_argument("--dim", type=whole_number(1), default=128, help="embedding dimension (default: %(default)s)")
    parser.add_argument(
        "--batches", type=whole_number(1), nargs="+", default=[1, 128], help="queries per search (default: %(default)s)"
    )
    parser.add_argument("--k", type=whole_number(1), default=75, help="neighbours (default: %(default)s)")
    parser.add_argument("--times", type=whole_number(2), default=10, help="measured searches of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    restart_with_one_thread("bench.scan")
    question = {"dim": options.dim, "k": options.k}
    copied, found = measure(options.device, options.rows, options.batches, **question, times=options.times)
    show(
        f"exact search on {options.device}, k = {options.k}, {options.dim} dimensions; a copy moves {copied / 1e9:.3g} GB/s",
        ["exemplars", "queries", "ms: median (quartiles)", "GB/s", "of the copy"],
        [
            [
                f"{each.rows:,}",
                str(each.batch),
                f"{each.milliseconds:.3g} ({each.low:.3g} to {each.high:.3g})",
                f"{each.gigabytes_per_second:.3g}",
                f"{each.share_of_copy:.1%}",
            ]
            for each in found
        ],
    )
    if options.json:
        values = {**question, "copy_gigabytes_per_second": copied / 1e9, "searches": [asdict(each) for each in found]}
        write_json(options.json, "scan", values, device=options.device)
    return 0


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
