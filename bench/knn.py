"""Exact kNN over 50,000 x 128 at batch 128, against the matrix product that it cannot do without.

All run on one thread in one process, in turns, and each round gives one ratio; the median of the ratios is what counts, so
that a busy machine slows all of a round. The matrix product is the fastest there is here for queries x bank: numpy's
OpenBLAS, into memory that is there already. faiss's own flat search of as many neighbours runs beside them, for comparison.

    python -m bench.knn [--rows 50000] [--dim 128] [--batch 128] [--k 75] [--json FILE]
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness.environment import restart_with_one_thread
from bench.harness.report import Spread, Target, run_benchmark, show, write_json
from bench.harness.timing import seconds_of
from holdfast.flags import whole_number

if TYPE_CHECKING:
    from collections.abc import Callable

BOUND = 1.5


def measure(rows: int, dim: int, batch: int, k: int, rounds: int) -> dict[str, list[float]]:
    """Microseconds per query of the search, of faiss's own and of the product alone, round by round."""
    # Imported here: these libraries read their environment when they are imported, and main sets it first.
    import numpy as np  # noqa: PLC0415

    from bench.harness.vectors import unit_vectors  # noqa: PLC0415
    from holdfast.console import track  # noqa: PLC0415
    from holdfast.model.faiss_library import faiss  # noqa: PLC0415
    from holdfast.model.retrieval.base import SPARE, Bank, nearest  # noqa: PLC0415
    from holdfast.model.retrieval.flat import FlatIndex  # noqa: PLC0415

    rng = np.random.default_rng(0)
    bank, queries = unit_vectors(rng, rows, dim), unit_vectors(rng, batch, dim)
    index = FlatIndex.build(Bank(bank, np.arange(rows), np.zeros(rows, dtype=np.int64)))
    plain = faiss.IndexFlatIP(dim)
    plain.add(bank)
    columns = np.ascontiguousarray(bank.T)
    product = np.empty((batch, rows), dtype=np.float32)
    turns: dict[str, Callable[[], object]] = {
        "search": lambda: nearest(index, queries, k),
        "faiss": lambda: plain.search(queries, k + SPARE),
        "product": lambda: np.matmul(queries, columns, out=product),
    }
    times: dict[str, list[float]] = {name: [] for name in turns}
    for _ in track(range(rounds + 2), description="searching"):
        for name in rng.permutation(list(turns)).tolist():
            times[name].append(seconds_of(turns[name]) / batch * 1e6)
    return {name: taken[2:] for name, taken in times.items()}  # the first touch memory for the first time


def ratios(times: dict[str, list[float]], over: str, under: str) -> Spread:
    """One ratio a round."""
    return Spread.of([a / b for a, b in zip(times[over], times[under], strict=True)])


def main() -> int:
    """Runs the benchmark. Returns 0 where the target is met, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.knn", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=whole_number(1), default=50_000, help="exemplars in the index (default: %(default)s)")
    parser.add_argument("--dim", type=whole_number(1), default=128, help="embedding dimension (default: %(default)s)")
    parser.add_argument("--batch", type=whole_number(1), default=128, help="queries per search (default: %(default)s)")
    parser.add_argument("--k", type=whole_number(1), default=75, help="neighbours (default: %(default)s)")
    parser.add_argument("--rounds", type=whole_number(2), default=40, help="measured rounds (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    restart_with_one_thread("bench.knn")
    times = measure(options.rows, options.dim, options.batch, options.k, options.rounds)
    search, plain, product = (Spread.of(times[name]) for name in ("search", "faiss", "product"))
    ratio, saved = ratios(times, "search", "product"), ratios(times, "search", "faiss")
    target = Target("search / matrix product", ratio.median, BOUND, at_least=False)
    show(
        f"exact kNN, k = {options.k}, over {options.rows:,} x {options.dim}, batch {options.batch}, one thread",
        ["", "us per query: median (quartiles)"],
        [
            ["search, in canonical order", str(search)],
            ["faiss's own search, in its order", str(plain)],
            ["matrix product alone", str(product)],
            ["search / matrix product, round by round", str(ratio)],
            ["search / faiss's own, round by round", str(saved)],
        ],
        target,
    )
    if options.json:
        values = {"search_us": search.median, "faiss_us": plain.median, "product_us": product.median}
        values |= {"of_faiss": saved.median, "ratio_low": ratio.low, "ratio_high": ratio.high}
        values |= {"rows": options.rows, "k": options.k}
        write_json(options.json, "knn", values, target=target)
    return 0 if target.met else 1


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
