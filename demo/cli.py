"""python -m demo: the whole road in one command, small and real."""

import argparse
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from bench.server_process import Server, running_server
from demo.picture import draw
from demo.pipeline import CONTESTANTS, travel
from demo.rows import choose, rows_of
from demo.serving import Traffic, classify, labels_of, wait_for_probes
from demo.tables import percent, robustness_table, scraped_table
from holdfast import data
from holdfast.data import Splits
from holdfast.errors import HoldfastError
from holdfast.evaluation import Evaluation

PROBES = 12
PROBE_SECONDS = 20.0

TEACHING = """
Trains three small encoders on scikit-learn's digits (supervised; self-supervised; SSAT), attacks all three the same
way, serves the SSAT one, sends it test images clean and attacked over gRPC, scrapes its metrics and draws a picture.
What an earlier run left in --out is used again; --fresh begins anew.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser("python -m demo", description=TEACHING)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="where bundles and picture go (%(default)s)")
    parser.add_argument("--images", type=int, default=400, help="test images to attack (%(default)s, which is all)")
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier run left in --out")
    flags = parser.parse_args(arguments)
    console = Console()
    try:
        run(flags.out, flags.images, fresh=flags.fresh, console=console)
    except HoldfastError as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return 1
    return 0


def run(out: Path, images: int, *, fresh: bool, console: Console) -> None:
    """Train, export, index, attack, serve, classify, scrape, draw."""
    started = time.monotonic()
    if fresh:
        for contestant in CONTESTANTS:
            shutil.rmtree(out / contestant.name, ignore_errors=True)
    splits = data.load("digits")
    results: dict[str, Evaluation] = {}
    for number, contestant in enumerate(CONTESTANTS, start=1):
        console.rule(f"{number} of {len(CONTESTANTS)}: {contestant.name}", align="left")
        results[contestant.name] = travel(contestant, out, splits, images, console)
    best = CONTESTANTS[-1].name
    console.rule("served", align="left")
    with running_server(out / best, "--probe-rate", "0.1", "--probe-budget", "0.5") as server:
        serve(server, out, results[best], splits, console)
    console.rule("result", align="left")
    console.print(robustness_table(results))
    took = f"{time.monotonic() - started:.0f} s"
    console.print(f"picture: {out / 'picture.png'}    next: make serve BUNDLE={out / best}    ({took})", highlight=False)


def serve(server: Server, out: Path, evaluation: Evaluation, splits: Splits, console: Console) -> None:
    """Send the attacked test images through the server, compare its answers with the evaluation's, scrape and draw."""
    outcome = evaluation.outcome
    traffic = classify(server, evaluation.images, outcome.adversarial)
    images = 2 * len(evaluation.images)
    console.print(f"{images} images classified over gRPC at {server.address} in {traffic.seconds:.1f} s")
    _confirm(traffic, evaluation)
    console.print("every answer over gRPC is the one that the attack was judged by")
    wait_for_probes(server, PROBES, PROBE_SECONDS)
    console.print(scraped_table(server))
    rows = rows_of(choose(evaluation), evaluation, traffic, splits.train)
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
