"""Approximate search against exact search, by the vote's answers, by CPU time and by memory, from 50 thousand exemplars on.

Banks are copies of a bundle's exemplars, moved towards their neighbours, and synthetic clusters. 2,048 queries are made of the
bundle's held-out images in the same way: the index is tuned on those of the first half of the images to answer 99.9 % as an
exact search does, and measured on those of the second half. All on one thread; CPU milliseconds a query, exact and approximate
in turns, so that each pair gives one ratio.

    python -m bench.retrieval [--rows 50000 1000000] [--data real synthetic] [--folder DIR] [--plot FILE.png] [--json FILE]

A million rows of 128 take .6 GB of disk and 1 GB of memory, 10 million 6 GB and 8 GB: the exact index beside it is float32.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.harness.environment import restart_with_one_thread
from bench.harness.report import Target, run_benchmark, show, write_json
from holdfast.files import write_atomically
from holdfast.flags import whole_number

AGREEMENT, ALONE, BATCHED, RESIDENT = 0.999, 8.0, 1.5, 4.0
TARGETS_AT = 1_000_000
BUILT = "built.json"


def measure(rows: int, source: str, options: argparse.Namespace) -> dict[str, object]:
    """One line of the table."""
    # Imported here: these libraries read their environment when they are imported, and main sets it first.
    import numpy as np  # noqa: PLC0415

    from bench.retrieval import banks  # noqa: PLC0415
    from bench.retrieval.measure import Bench, alone, build, compare, memory  # noqa: PLC0415

    with folder_for(options.folder, f"{source}-{rows}") as folder:
        own = rows <= 50_000 and source == "real"  # so few are the bundle's own, without copies
        made = banks.real(options.bundle, copied=source == "real" and not own)
        if source == "synthetic":
            made = banks.synthetic(options.dim, made.vote)
        if not (folder / BUILT).is_file():
            matrix, labels = banks.write(made, min(rows, len(made.embeddings)) if own else rows, folder)
            np.save(folder / "labels.npy", labels)
            seconds = alone(build, Bench(matrix, labels, made.queries, made.vote, made.classes, folder))
            write_atomically(folder / BUILT, json.dumps({"matrix": matrix.name, "seconds": seconds}).encode())
        known = json.loads((folder / BUILT).read_text(encoding="utf-8"))
        matrix, seconds, labels = folder / known["matrix"], known["seconds"], np.load(folder / "labels.npy")
        print(f"{source} {len(labels):,}: built in {seconds:.0f} s of CPU", flush=True)
        if options.build_only:
            return {}
        queries = made.queries[:: max(1, len(made.queries) // options.queries)]
        bench = Bench(matrix, labels, queries, made.vote, made.classes, folder)
        compared = alone(compare, bench, options.pairs)
        kept = alone(memory, bench, compared.parameters)
    return {
        "data": source,
        "rows": len(labels),
        "k": made.vote.k,
        "build_s": seconds,
        "parameters": compared.parameters,
        "tuned": [compared.tuned.successes, compared.tuned.trials],
        "agreement": [compared.agreement.successes, compared.agreement.trials],
        "recall": compared.recall,
        "exact_ms": {batch: each.median for batch, each in compared.exact_ms.items()},
        "ms": {batch: each.median for batch, each in compared.ms.items()},
        "ratio": {batch: [each.low, each.median, each.high] for batch, each in compared.ratio.items()},
        "resident_gib": (kept.after - kept.before) / 2**30,
        "process_gib": kept.after / 2**30,
        "files_gib": kept.files / 2**30,
    }


@contextmanager
def folder_for(parent: Path | None, name: str) -> Iterator[Path]:
    """A folder of that name, which is kept; or, without a parent, one that goes with the run."""
    if parent is not None:
        (parent / name).mkdir(parents=True, exist_ok=True)
        yield parent / name
    else:
        with tempfile.TemporaryDirectory() as made:
            yield Path(made)


def print_table(found: list[dict[str, object]]) -> None:
    """Of all that was measured."""
    from holdfast.intervals import Rate  # noqa: PLC0415

    def cells(each: dict[str, object]) -> list[str]:
        exact, ms, ratio = (dict(each[name]) for name in ("exact_ms", "ms", "ratio"))  # type: ignore[call-overload]
        parameters = dict(each["parameters"])  # type: ignore[call-overload]
        return [
            str(each["data"]),
            f"{each['rows']:,}",
            f"{parameters['probes']}",
            f"{100 * float(each['recall']):.1f} %",  # type: ignore[arg-type]
            str(Rate(*each["agreement"])),  # type: ignore[misc]
            *(f"{exact[batch]:.3g} / {ms[batch]:.3g} / {1 / ratio[batch][1]:.3g}" for batch in (1, 64)),
            f"{each['resident_gib']:.2f}",
            f"{each['build_s']:.0f}",
        ]

    # Times: exact / approximate / how many times cheaper.
    columns = ["exemplars", "rows", "probes", "recall", "vote as exact", "ms alone", "ms in 64s"]
    show("exact and approximate search", [*columns, "GiB resident", "build, s CPU"], [cells(each) for each in found])


def targets(found: list[dict[str, object]]) -> list[Target]:
    """What is promised at a million real exemplars, and of 10 million."""
    promised = []
    for each in found:
        if each["data"] == "real" and each["rows"] == TARGETS_AT:
            ratio, (same, asked) = dict(each["ratio"]), each["agreement"]  # type: ignore[call-overload,misc]
            promised += [
                Target("votes as exact, 1 M", same / asked, AGREEMENT, at_least=True),  # type: ignore[has-type]
                Target("times cheaper for single callers, 1 M", 1 / ratio[1][1], ALONE, at_least=True),
                Target("times cheaper in batches of 64, 1 M", 1 / ratio[64][1], BATCHED, at_least=True),
            ]
        if each["rows"] == 10 * TARGETS_AT:
            promised.append(Target("GiB resident, 10 M", float(each["process_gib"]), RESIDENT, at_least=False))  # type: ignore[arg-type]
    return promised


def main() -> int:
    """Runs the benchmark. Returns 0 where every target that was measured is met, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.retrieval", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=Path("bundles/cifar10-small"), help="(default: %(default)s)")
    parser.add_argument(
        "--rows", type=whole_number(1), nargs="+", default=[50_000, 1_000_000], help="exemplars (default: %(default)s)"
    )
    parser.add_argument("--data", nargs="+", choices=("real", "synthetic"), default=["real", "synthetic"])
    parser.add_argument("--dim", type=whole_number(1), default=128, help="of synthetic embeddings (default: %(default)s)")
    parser.add_argument("--queries", type=whole_number(2), default=2048, help="of both halves (default: %(default)s)")
    parser.add_argument("--pairs", type=whole_number(1), default=10, help="measured pairs (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where banks and indexes lie; they are kept, and used again")
    parser.add_argument("--build-only", action="store_true", help="build into --folder what is to be measured later")
    parser.add_argument("--plot", type=Path, help="also draw cost against rows")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    restart_with_one_thread("bench.retrieval")
    found = []
    for rows in options.rows:
        for source in options.data:
            found.append(measure(rows, source, options))
            if options.json and not options.build_only:
                write_json(options.json, "retrieval", {"measured": found})
    if options.build_only:
        return 0
    print_table(found)
    promised = targets(found)
    for target in promised:
        print(target)
    if options.plot:
        from bench.retrieval.picture import draw  # noqa: PLC0415

        draw(found, options.plot)
    return 0 if all(target.met for target in promised) else 1


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
