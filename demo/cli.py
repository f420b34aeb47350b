"""python -m demo: all of it in one command, small and real."""

import argparse
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.harness.server_process import Server, running_server
from demo.picture import draw
from demo.pipeline import ENTRIES, Entry, is_made, run_entry
from demo.rows import choose, picture_rows
from demo.serving import Traffic, classify, labels_of, wait_for_probes
from demo.tables import percent, robustness_table, scraped_table
from holdfast import data
from holdfast.console import Console
from holdfast.data import Splits
from holdfast.environment import AVX512, cpu_flags
from holdfast.errors import HoldfastError
from holdfast.evaluation import Evaluation
from holdfast.exit_status import exit_status, explain_statuses
from holdfast.flags import whole_number

PROBES, PROBE_RATE = 12, "0.1"
PROBE_SECONDS = 20.0
MINUTES = 5
"""On two cores with AVX2 and no AVX-512."""

ABOUT = """\
Train three small encoders on scikit-learn's digits (supervised; self-supervised; SSAT), attack all three the same way, serve
the SSAT one, send it test images clean and attacked over gRPC, scrape its metrics and draw a picture.

What an earlier run left in --out is used again; --fresh begins anew. Two threads share the batches of each training and of each
attack: two cores are kept busy, and more do not help much.

how long it takes:
  two cores with AVX2, no AVX-512    about 5 minutes
  two cores with AVX512-BF16         less; not measured
  one core                           about twice as long

examples:
  python -m demo
  python -m demo --out runs/mine --images 100
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        "python -m demo",
        description=ABOUT,
        epilog=explain_statuses(0, 1, 2, 130, 143),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="where bundles and picture go (%(default)s)")
    parser.add_argument("--images", type=whole_number(1), default=400, help="test images to attack (%(default)s, which is all)")
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier run left in --out")
    flags = parser.parse_args(arguments)
    again = "the same command uses again what is finished"
    return exit_status("demo", lambda: run(flags.out, flags.images, fresh=flags.fresh, console=Console()), again=again)


def run(out: Path, images: int, *, fresh: bool, console: Console) -> None:
    """Train, export, index, attack, serve, classify, scrape, draw."""
    started = time.monotonic()
    if fresh:
        for entry in ENTRIES:
            shutil.rmtree(out / entry.name, ignore_errors=True)
    splits = data.load("digits")
    console.print(plan([entry for entry in ENTRIES if not is_made(entry.config(out), splits)]), highlight=False)
    results: dict[str, Evaluation] = {}
    for number, entry in enumerate(ENTRIES, start=1):
        console.rule(f"{number} of {len(ENTRIES)}: {entry.name}", align="left")
        results[entry.name] = run_entry(entry, out, splits, images, console)
    best = ENTRIES[-1].name
    console.rule("served", align="left")
    with running_server(out / best, "--probe-rate", PROBE_RATE, "--probe-budget", "0.5") as server:
        serve(server, out, results[best], splits, console)
    console.rule("result", align="left")
    console.print(robustness_table(results))
    took = f"{time.monotonic() - started:.0f} s"
    console.print(f"picture: {out / 'picture.png'}    next: make serve BUNDLE={out / best}    ({took})", highlight=False)


def plan(to_train: Sequence[Entry]) -> str:
    """What is about to happen, and how long it takes on this CPU."""
    if not to_train:
        return "all encoders are trained already: attacking and serving them takes a minute or two"
    cores, flags = len(os.sched_getaffinity(0)), cpu_flags()
    kind = "AVX-512" if flags >= AVX512 else "AVX2 and no AVX-512" if "avx2" in flags else "neither AVX2 nor AVX-512"
    names = ", ".join(entry.name for entry in to_train)
    minutes = MINUTES if cores > 1 else 2 * MINUTES
    bound = "at most about" if flags >= AVX512 else "about"
    return f"training {names}; {bound} {minutes} minutes on this machine ({cores} core{'s' * (cores > 1)}, {kind})"


def serve(server: Server, out: Path, evaluation: Evaluation, splits: Splits, console: Console) -> None:
    """Send the attacked test images through the server, compare its answers with the evaluation's, scrape and draw."""
    outcome = evaluation.outcome
    traffic = classify(server, evaluation.images, outcome.adversarial)
    images = 2 * len(evaluation.images)
    console.print(f"{images} images classified over gRPC at {server.address} in {traffic.seconds:.1f} s")
    _confirm(traffic, evaluation)
    console.print("every answer over gRPC is the one that decided whether the attack succeeded")
    wait_for_probes(server, PROBES, PROBE_SECONDS)
    console.print(scraped_table(server))
    rows = picture_rows(choose(evaluation), evaluation, traffic, splits.train)
    subtitle = (
        f"{percent(evaluation.clean)} clean, {percent(evaluation.robust)} under a white-box attack of {evaluation.threat}"
    )
    draw(out / "picture.png", rows, title="holdfast: answers under attack", subtitle=subtitle)


def _confirm(traffic: Traffic, evaluation: Evaluation) -> None:
    """The served answers are the evaluated ones, image by image; otherwise the table would be about something else."""
    expected = np.concatenate([evaluation.outcome.clean_labels, evaluation.outcome.adversarial_labels])
    differing = int((labels_of([*traffic.clean, *traffic.attacked]) != expected).sum())
    if differing:
        raise HoldfastError(f"{differing} of {len(expected)} answers over gRPC differ from the evaluation's")
