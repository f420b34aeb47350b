"""A Milvus collection against exact search in this process, on the exemplars of a bundle.

Queries are exemplars moved by noise. Both search in turns, and each pair gives one ratio of seconds as a caller waits; Milvus's
own threads are its own, so the ratio is of time and not of CPU. Agreement is of the votes' labels.

    python -m bench.milvus [--bundle bundles/cifar10-small] [--address milvus://HOST:PORT?index=ivf] [--json FILE]

Without --address it starts the server of the wheel `milvus` on loopback.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness.environment import restart_with_one_thread
from bench.harness.report import Spread, run_benchmark, show, write_json
from bench.harness.timing import seconds_of
from holdfast.flags import whole_number

if TYPE_CHECKING:
    from holdfast.bundle.reader import Bundle
    from holdfast.model.retrieval.base import Retriever

NOISE = 0.05
QUERIES = 512


def main() -> int:
    """Runs the benchmark. Returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.milvus", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=Path("bundles/cifar10-small"), help="(default: %(default)s)")
    parser.add_argument("--address", help="of a Milvus server, with its options (default: one that is started here)")
    parser.add_argument("--k", type=whole_number(1), nargs="+", default=[75, 1000], help="neighbours (default: %(default)s)")
    parser.add_argument("--pairs", type=whole_number(2), default=10, help="measured pairs (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    restart_with_one_thread("bench.milvus")
    # Imported here: these libraries read their environment when they are imported, and the restart sets it first.
    from bench.harness.milvus_server import running_milvus  # noqa: PLC0415
    from holdfast.bundle.reader import Bundle  # noqa: PLC0415
    from holdfast.model.retrieval.base import bank_of  # noqa: PLC0415
    from holdfast.model.retrieval.milvus.index import MilvusIndex  # noqa: PLC0415

    bundle = Bundle.open(options.bundle)
    with ExitStack() as stack:
        address = options.address
        if address is None:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            address = f"milvus://{stack.enter_context(running_milvus(scratch)).address}?timeout=20"
        index = MilvusIndex.build(bank_of(bundle.index), address=address)
        stack.callback(index.collection.drop)
        rows, values = _compare(bundle, index, options.k, options.pairs)
    headings = ["k", "batch", "Milvus, ms a query", "exact, ms a query", "ratio, pair by pair", "same vote"]
    show(f"{index} against exact search, {bundle.index.size:,} x {index.dim}", headings, rows)
    if options.json:
        write_json(options.json, "milvus", values)
    return 0


def _compare(bundle: "Bundle", index: "Retriever", ks: Sequence[int], pairs: int) -> tuple[list[list[str]], dict[str, float]]:
    """A row of the table, and the figures behind it, for each k and batch."""
    import numpy as np  # noqa: PLC0415

    from holdfast.model.retrieval.base import bank_of, nearest  # noqa: PLC0415
    from holdfast.model.vote import vote  # noqa: PLC0415

    rng, exact, bank = np.random.default_rng(0), bundle.index, bank_of(bundle.index)
    queries = bank.embeddings[rng.choice(len(bank.ids), QUERIES, replace=False)]
    queries = queries + NOISE * rng.standard_normal(queries.shape, dtype=np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    rows: list[list[str]] = []
    values: dict[str, float] = {}
    for k in ks:
        how = bundle.manifest.vote.model_copy(update={"k": k})
        votes = []
        for searched in (index, exact):
            parts = [nearest(searched, queries[i : i + 64], k) for i in range(0, QUERIES, 64)]
            classes = len(bundle.manifest.class_names)
            votes.append(np.concatenate([vote(p.similarities, p.labels, classes, how).labels for p in parts]))
        same = float(np.mean(votes[0] == votes[1]))
        for batch in (1, 64):
            seconds: list[list[float]] = [[], []]
            for i in range(pairs):
                part = queries[i : i + batch]
                for which in (0, 1) if i % 2 else (1, 0):
                    searched = (index, exact)[which]
                    seconds[which].append(1000 * seconds_of(partial(nearest, searched, part, k)) / batch)
            ratio = Spread.of([there / here for there, here in zip(*seconds, strict=True)])
            times = [str(Spread.of(each)) for each in seconds]
            rows.append([f"{k:,}", str(batch), *times, str(ratio), f"{same:.2%}"])
            values |= {f"ratio_k{k}_batch{batch}": ratio.median, f"same_vote_k{k}": same}
    return rows, values


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
