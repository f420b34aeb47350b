"""`holdfast robustify --from BUNDLE --data DIR --out RUN`: the command line."""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from holdfast.bundle.threat_model import parse_epsilon
from holdfast.console import Console
from holdfast.data.sets import NAMES
from holdfast.data.streaming.training import StreamedTraining, TrainingSplits
from holdfast.exit_status import exit_status, explain_statuses
from holdfast.model.preprocess import MAX_PIXELS
from holdfast.trainer.cli import open_splits, run
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.hardening.images import is_set_without_classes, read_without_classes
from holdfast.trainer.hardening.plan import METHODS, HardeningOptions, hardening_config, record_of, with_frozen_layers
from holdfast.trainer.loop.processes import leads, meet, process_group
from holdfast.trainer.state.source import ParentBundle

ABOUT = """\
Make an encoder that exists robust: the one of a bundle, imported or trained. A copy of it is trained under attack, and RUN
becomes a bundle with that copy, which holdfast index completes. What it costs is said first, after a few steps.

methods:
  fare     no labels: give under attack what the original gives for the clean image (arXiv 2402.12336)
  deacl    no labels: stay with the original on clean images, and with oneself on attacked ones (arXiv 2207.10899)
  ssat     no labels: find an attacked view again among the clean images of the batch, as the original embeds these
  trades   labels: be right on clean images, and answer alike on attacked ones (arXiv 1901.08573)

Preprocessing stays as it is, and so do the statistics of norms. DIR holds class folders, or, for methods without labels, images
alone; the name of a built-in set does as well.

examples:
  holdfast robustify --from runs/vit --data photos/ --out runs/vit-robust
  holdfast robustify --from runs/vit --data photos/ --out runs/vit-robust --adapters 8 --checkpoint-activations 8
  holdfast robustify --from runs/vit --data photos/ --out runs/vit-robust --method trades --train-last 4
  holdfast robustify --from bundles/cifar10-small --data cifar10 --data-dir DIR --out runs/small --minutes 50 --resume-if-any
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    begun, typed = time.perf_counter(), list(sys.argv[1:] if arguments is None else arguments)
    options = robustify_parser().parse_args(typed)
    command = shlex.join(["holdfast", "robustify", *typed])
    again = "the same command with --resume goes on from the last checkpoint"
    return exit_status("holdfast robustify", lambda: robustify(options, command, begun), again=again)


def robustify_parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(
        prog="holdfast robustify",
        description=ABOUT,
        epilog=explain_statuses(0, 1, 2, 75, 130, 143),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--from", dest="parent", metavar="BUNDLE", type=Path, required=True, help="whose encoder is hardened; it stays as it is"
    )
    add("--data", metavar="DIR", required=True, help=f"what it is hardened on: a folder, a table, or one of {', '.join(NAMES)}")
    add("--data-dir", metavar="DIR", type=Path, help="where a built-in set lies")
    add("--out", metavar="RUN", type=Path, required=True, help="directory of the run, and of the bundle that comes of it")
    add("--method", choices=tuple(METHODS), default="fare", help="what is minimised (default: fare)")
    add("--skip-unreadable", action="store_true", help="leave out files that are no images, instead of refusing")
    add("--max-pixels", type=int, default=MAX_PIXELS, help="largest width x height that is decoded (default: %(default)s)")
    _attack_flags(parser)
    _training_flags(parser)
    _weight_flags(parser)
    _run_flags(parser)
    return parser


def _attack_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("the attack").add_argument
    add("--norm", choices=("linf", "l2"), default="linf", help="norm of the ball (default: linf)")
    add("--epsilon", type=_epsilon, default=4 / 255, metavar="E", help="its radius, in pixels of [0, 1] (default: 4/255)")
    add("--attack-steps", type=_count, default=5, metavar="N", help="gradient steps (default: 5); most of the time goes there")
    add("--step-size", type=_epsilon, metavar="E", help="length of each (default: 2.5 epsilon / steps)")


def _training_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("the training").add_argument
    add("--steps", type=_count, metavar="N", help="batches to learn from (default: 10 epochs, from 100 to 20,000 steps)")
    add("--batch-size", type=_count, metavar="N", help="images in each (default: 128 of up to 96 x 96 pixels, fewer of larger)")
    add("--learning-rate", type=float, metavar="R", help="of Adam, at its peak (default: 2e-5; with adapters 2e-4)")
    add("--weight-decay", type=float, default=0.0, metavar="W", help="pull of the weights towards 0 (default: 0)")
    add("--average", type=float, default=0.0, metavar="D", help="decay of the mean of weights that is kept (default: none is)")
    add("--clean-weight", type=float, default=0.0, metavar="C", help="of the clean image, for fare (default: 0, as published)")
    add("--robust-weight", type=float, metavar="W", help="of the attacked image, for deacl (2) and trades (6)")
    add("--flip", type=float, default=0.0, metavar="P", help="chance that an image is mirrored (default: 0; photographs: .5)")


def _weight_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("which weights, and the memory").add_argument
    add("--freeze", type=_count_or_none, default=0, metavar="N", help="leave the first N layers with weights as they are")
    add("--train-last", type=_count, metavar="N", help="train the last N layers alone")
    add(
        "--adapters",
        type=_count_or_none,
        default=0,
        metavar="RANK",
        help="learn matrices of this rank beside weights (LoRA)",
    )
    add(
        "--checkpoint-activations",
        type=_count_or_none,
        default=0,
        metavar="N",
        help="compute activations twice instead of keeping them, in N segments: less memory, a third more time",
    )
    add("--half", action="store_true", help="store the weights of the bundle as float16")


def _run_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("the run").add_argument
    add("--seed", type=int, default=0, help="of views, attacks, order and adapters (default: 0)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to train (default: a GPU if there is one)")
    add(
        "--precision",
        choices=("bfloat16", "float32"),
        default="bfloat16",
        help="of convolutions, where that is quick",
    )
    add("--threads", type=_count, default=1, metavar="N", help="CPU threads, each with its part of a batch (default: 1)")
    add("--checkpoint-every", type=_count, default=50, metavar="N", help="steps between two checkpoints (default: 50)")
    add("--log-every", type=_count, default=10, metavar="N", help="steps between two lines of log.csv (default: 10)")
    add("--no-estimate-cost", dest="estimate_cost", action="store_false", help="do not take a few steps first to see the price")
    add("--resume", action="store_true", help="go on from the last checkpoint in RUN")
    add("--resume-if-any", action="store_true", help="go on where RUN holds a checkpoint, else begin")
    add("--minutes", type=float, default=0.0, help="stop after so many minutes, with a checkpoint and status 75")


def robustify(options: argparse.Namespace, command: str, begun: float) -> None:
    """Plan, train and export."""
    console = Console()
    parent = ParentBundle.open(options.parent)
    asked = with_frozen_layers(parent, HardeningOptions(**vars(options)))
    splits, config = _plan(parent, asked)
    try:
        with process_group(config.device):
            if leads():
                parent.keep(config, record_of(parent, asked))
            meet()
            run(config, splits, command, console, begun)
    finally:
        if isinstance(splits, StreamedTraining):
            splits.close()


def _plan(parent: ParentBundle, asked: HardeningOptions) -> tuple[TrainingSplits, TrainConfig]:
    if is_set_without_classes(asked.data):
        contract = parent.manifest.input
        found: TrainingSplits = read_without_classes(
            Path(asked.data), contract, skip_unreadable=asked.skip_unreadable, max_pixels=asked.max_pixels
        )
    else:
        found = open_splits(hardening_config(parent, asked, None))
    return found, hardening_config(parent, asked, found)


def _epsilon(typed: str) -> float:
    try:
        return parse_epsilon(typed)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(typed: str) -> int:
    return _whole(typed, 1)


def _count_or_none(typed: str) -> int:
    return _whole(typed, 0)


def _whole(typed: str, least: int) -> int:
    if not typed.isdecimal() or int(typed) < least:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, not {typed}")
    return int(typed)


if __name__ == "__main__":
    sys.exit(main())
