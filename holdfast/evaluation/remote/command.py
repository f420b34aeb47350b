"""holdfast evaluate --address HOST:PORT: attack a running server, write a report, print it in short."""

import argparse
import math
import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.progress import BarColumn, TimeElapsedColumn

from holdfast.attacks.transfer import FromBundle, another_task
from holdfast.auditing import RemoteClassifier
from holdfast.bundle.reader import Bundle
from holdfast.bundle.threat_model import ThreatModel, ball
from holdfast.client import Client, ClientError, ModelInfo
from holdfast.client.options import add_access_options, connection_of
from holdfast.console import Console, Progress, TextColumn
from holdfast.data import NAMES, LabelledImages, load
from holdfast.errors import ContractMismatchError, HoldfastError
from holdfast.evaluation.cli.console import print_report
from holdfast.evaluation.pipeline import check_libraries
from holdfast.evaluation.plan import in_order
from holdfast.evaluation.remote.attack import RemotePlan
from holdfast.evaluation.remote.measure import evaluate_remotely
from holdfast.evaluation.report.page import render
from holdfast.exit_status import DONE, FAILED, GOES_ON, exit_status, explain_statuses
from holdfast.files import write_atomically
from holdfast.flags import positive, whole_number

PROGRAM = "holdfast evaluate --address"

DESCRIPTION = f"""Attack a running server over the network by its answers, as a stranger would, and write a report.

  holdfast evaluate --address localhost:50051 --data cifar10 --data-dir DIR
  holdfast evaluate --address localhost:50051 --data folder --data-dir photos --balls linf:8/255
  holdfast evaluate --address localhost:50051 --data cifar10 --data-dir DIR --transfer-from bundles/another

Ten draws of noise, Square on the shares of the vote, HopSkipJump on labels; with --transfer-from, what fools a bundle that is
at hand is tried first. Every candidate is an image that could be sent, and the server's answer decides. The report says what
was not known. Who has the bundle attacks it by holdfast evaluate BUNDLE --full, which finds far more.

An image costs up to twice --queries answers in each ball: 100 images at 500 queries are some 100,000. A server with
detectors, rates or limits will notice; a call that it refuses for now is repeated after the pause that it asks for.

{explain_statuses()}
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="holdfast evaluate", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--address", required=True, metavar="HOST:PORT", help="of the server's gRPC")
    made.add_argument("--data", choices=NAMES, default="folder", help="kind of the labelled set (default: %(default)s)")
    made.add_argument("--data-dir", type=Path, metavar="DIR", help="where it lies; its test part is attacked")
    made.add_argument("--balls", nargs="+", default=[], metavar="NORM:RADIUS", help="default: the server's own threat model")
    made.add_argument("--images", type=whole_number(0), default=100, help="attacked; 0: all (default: %(default)s)")
    made.add_argument("--queries", type=whole_number(1), default=500, help="per image and attack (default: %(default)s)")
    made.add_argument("--transfer-from", nargs="+", type=Path, default=[], metavar="BUNDLE", help="of the same images")
    made.add_argument("--steps", type=whole_number(1), default=40, help="gradients of each transfer (default: %(default)s)")
    made.add_argument("--batch-size", type=whole_number(1), default=64, help="images at once (default: %(default)s)")
    made.add_argument("--seed", type=whole_number(0), default=0, help="of the images and the attacks (default: %(default)s)")
    made.add_argument("--minutes", type=positive, default=math.inf, help="stop after so many, to go on by the same command")
    made.add_argument("--out", type=Path, metavar="DIR", help="of the report (default: audit-HOST-PORT)")
    made.add_argument("--timeout", type=positive, default=30.0, help="seconds of one call (default: %(default)s)")
    add_access_options(made)
    return made


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    begun = time.monotonic()
    options = parser().parse_args(arguments)
    command = shlex.join(["holdfast", "evaluate", *arguments])

    def measure() -> int:
        try:
            return _run(options, command, begun)
        except ClientError as error:
            print(f"{PROGRAM}: {error}", file=sys.stderr)
            return FAILED

    return exit_status(PROGRAM, measure, again=GOES_ON)


def _run(options: argparse.Namespace, command: str, begun: float) -> int:
    console = Console()
    check_libraries()
    torch.set_num_threads(1)
    with Client(options.address, timeout=options.timeout, **connection_of(options)) as client:
        remote = RemoteClassifier(client)
        test = _test_images(options, remote.info)
        plan = RemotePlan(
            _balls(options.balls, remote.info),
            options.images or None,
            options.queries,
            options.seed,
            options.batch_size,
            tuple(_transfer(path, remote.info, options.steps) for path in options.transfer_from),
        )
        out = options.out or Path("audit-" + re.sub(r"[^A-Za-z0-9.]+", "-", options.address).strip("-"))
        columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
        with Progress(*columns, console=console) as progress:
            report = evaluate_remotely(
                remote,
                test,
                plan,
                address=options.address,
                command=command,
                cache=out / "cache",
                progress=progress,
                until=begun + 60 * options.minutes,
            )
    write_atomically(out / "report.json", (report.model_dump_json(indent=2) + "\n").encode())
    write_atomically(out / "index.html", render(report).encode())
    print_report(report, console)
    console.print(f"{remote.queries:,} images were asked in this run", highlight=False)
    console.print(f"report: {out / 'index.html'}    cache, no longer needed: {out / 'cache'}", markup=False, highlight=False)
    return DONE


def _test_images(options: argparse.Namespace, info: ModelInfo) -> LabelledImages:
    height, width, _ = info.input_shape
    if height != width:
        raise ContractMismatchError(f"the server takes images of {height} x {width}, and sets are read as squares")
    return load(options.data, directory=options.data_dir, size=height).test


def _balls(texts: Sequence[str], info: ModelInfo) -> tuple[ThreatModel, ...]:
    if texts:
        return in_order(map(ball, texts))
    if info.norm not in {"linf", "l2"} or not info.epsilon > 0:
        raise HoldfastError("the server names no ball that it was hardened in: name one by --balls, such as linf:8/255")
    return (ThreatModel("linf" if info.norm == "linf" else "l2", info.epsilon),)


def _transfer(path: Path, info: ModelInfo, steps: int) -> FromBundle:
    bundle = Bundle.open(path)
    if (bundle.manifest.input.shape, tuple(bundle.class_names)) != (info.input_shape, info.class_names):
        raise another_task(bundle, "the server", info.input_shape, info.class_names)
    return FromBundle.of(bundle, steps=steps)
