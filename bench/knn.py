"""Exact kNN over 50,000 x 128 at batch 128, against the matrix product that it cannot do without.

Both run on one thread in one process, in turns, and each pair gives one ratio; the median of the ratios is what counts, so
that a busy machine slows both halves of a pair. The matrix product is the fastest there is here for queries x bank: numpy's
OpenBLAS, into memory that is there already.

    python -m bench.knn [--rows 50000] [--dim 128] [--batch 128] [--k 75] [--json FILE]
"""

import argparse
import sys
from pathlib import Path

from bench.harness.environment import restart_with_one_thread
from bench.harness.report import Spread, Target, run_benchmark, show, write_json
from bench.harness.timing import seconds_of
from holdfast.flags import whole_number

BOUND = 1.5


def measure(rows: int, dim: int, batch: int, k: int, pairs: int) -> tuple[Spread, Spread, Spread]:
    """Microseconds per query of the search and of the product alone, and their ratio pair by pair."""
    # Imported here: these libraries read their environment when they are imported, and main sets it first.
    import numpy as np  # noqa: PLC0415

    from bench.harness.vectors import unit_vectors  # noqa: PLC0415
    from holdfast.console import track  # noqa: PLC0415
    from holdfast.model.retrieval.base import Bank, nearest  # noqa: PLC0415
    from holdfast.model.retrieval.flat import FlatIndex  # noqa: PLC0415

    rng = np.random.default_rng(0)
    bank, queries = unit_vectors(rng, rows, dim), unit_vectors(rng, batch, dim)
    index = FlatIndex.build(Bank(bank, np.arange(rows), np.zeros(rows, dtype=np.int64)))
    columns = np.ascontiguousarray(bank.T)
    product = np.empty((batch, rows), dtype=np.float32)

    def search() -> None:
        nearest(index, queries, k)

    def multiply() -> None:
        np.matmul(queries, columns, out=product)

    searches: list[float] = []
    products: list[float] = []
    for i in track(range(pairs + 2), description="searching"):
        order = [(search, searches), (multiply, products)]
        for work, times in order if i % 2 else reversed(order):
            times.append(seconds_of(work) / batch * 1e6)
    searches, products = searches[2:], products[2:]  # the first touch memory for the first time
    ratios = [s / p for s, p in zip(searches, products, strict=True)]
    return Spread.of(searches), Spread.of(products), Spread.of(ratios)


def main() -> int:
    """Runs the benchmark. Returns 0 where the target is met, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.knn", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=whole_number(1), default=50_000, help="exemplars in the index (default: %(default)s)")
    parser.add_argument("--dim", type=whole_number(1), default=128, help="embedding dimension (default: %(default)s)")
    parser.add_argument("--batch", type=whole_number(1), default=128, help="queries per search (default: %(default)s)")
    parser.add_argument("--k", type=whole_number(1), default=75, help="neighbours (default: %(default)s)")
    parser.add_argument("--pairs", type=whole_number(2), default=40, help="measured pairs (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    restart_with_one_thread("bench.knn")
    search, product, ratio = measure(options.rows, options.dim, options.batch, options.k, options.pairs)
    target = Target("search / matrix product", ratio.median, BOUND, at_least=False)
    show(
        f"exact kNN, k = {options.k}, over {options.rows:,} x {options.dim}, batch {options.batch}, one thread",
        ["", "us per query: median (quartiles)"],
        [
            ["search, in canonical order", str(search)],
            ["matrix product alone", str(product)],
            ["ratio, pair by pair", str(ratio)],
        ],
        target,
    )
    if options.json:
        values = {"search_us": search.median, "product_us": product.median, "ratio_low": ratio.low}
        values |= {"ratio_high": ratio.high, "rows": options.rows, "k": options.k}
        write_json(options.json, "knn", values, target=target)
    return 0 if target.met else 1


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
