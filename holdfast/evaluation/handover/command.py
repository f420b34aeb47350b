"""The command line of `holdfast hand-on`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from holdfast.bundle.__main__ import copy
from holdfast.bundle.reader import Bundle
from holdfast.console import Console, Progress, property_table
from holdfast.errors import HoldfastError
from holdfast.evaluation.handover.measuring import HandoverGate, HandoverResult, measure_handover, refuse_unlike
from holdfast.evaluation.recorded import recorded_splits
from holdfast.exit_status import exit_status, explain_statuses
from holdfast.files import make_directory, sync
from holdfast.flags import number_in, whole_number
from holdfast.versions import counted_up, is_version_name, natural

PROGRAM = "holdfast hand-on"
ABOUT = """\
Compare a bundle with the one that it is to replace, and hand it to the server's --bundle-versions if it has kept what that one
knew; otherwise refuse it, and the old one stays.

Backward agreement is the share of calibration images that both answer alike. Clean and robust accuracy are of the same test
images; the attack is a quick one within the old bundle's ball, by one who knows the bundle that is attacked. Images of the old
bundle's canary, attacked when it was built, are asked again.

examples:
  holdfast hand-on runs/digits runs/digits-2                      measure and say; nothing is copied
  holdfast hand-on runs/digits runs/digits-2 --to /models/digits  copy it there as the next version, if it passes
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    gate = HandoverGate()
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=ABOUT,
        epilog=explain_statuses(0, 1, 2, 130, 143),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("old", metavar="OLD", type=Path, help="directory of the bundle that is served")
    parser.add_argument("new", metavar="NEW", type=Path, help="directory of the bundle that is to be, complete with its index")
    parser.add_argument("--to", metavar="DIR", type=Path, help="directory of versions to copy it to, whole, by a rename")
    parser.add_argument("--as", dest="name", help="the version's name there (the last one's number counted up)")
    parser.add_argument("--data-dir", type=Path, help="where the labelled set lies, if not where the manifest says")
    parser.add_argument("--images", type=whole_number(1), default=200, help="test images to attack (%(default)s)")
    parser.add_argument("--steps", type=whole_number(1), default=20, help="gradients of each attack (%(default)s)")
    parser.add_argument(
        "--least-agreement", type=number_in(0, 1), default=gate.agreement, help="least backward agreement (%(default)s)"
    )
    parser.add_argument(
        "--most-loss", type=number_in(0, 1), default=gate.loss, help="most loss of clean and of robust accuracy (%(default)s)"
    )
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    return exit_status(PROGRAM, lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Measure, print, and copy where that is asked for.

    Raises:
        HoldfastError: the new bundle may not take the old one's place, or the two cannot be compared.

    """
    console = Console()
    old, new = Bundle.open(options.old), Bundle.open(options.new)
    refuse_unlike(old, new)
    name = version_name(options.to, options.name, options.old) if options.to else ""
    splits = recorded_splits(old.manifest, options.data_dir)
    with Progress(console=console) as progress:
        result = measure_handover(old, new, splits, images=options.images, steps=options.steps, progress=progress)
    console.print(table(result))
    faults = result.faults(HandoverGate(options.least_agreement, options.most_loss))
    if faults:
        raise HoldfastError(f"{options.new} is not handed on, and {options.old} stays: {'; '.join(faults)}")
    if not options.to:
        console.print(f"{options.new} may take the place of {options.old}; --to DIR hands it on")
        return
    publish(new, options.to, name)
    console.print(f"handed on as {options.to / name}; a server with --bundle-versions {options.to} tries and takes it")


def table(result: HandoverResult) -> object:
    """What was measured, for a person."""
    shown = property_table("new beside old")
    shown.add_row("backward agreement", f"{result.agreement} of calibration images")
    shown.add_row("clean accuracy", f"{result.clean} points")
    shown.add_row(f"robust accuracy, {result.threat}", f"{result.robust} points")
    if result.fixed is not None:
        now, before = result.fixed
        shown.add_row("attacked images of the old canary", f"{now} right, {before} by the old bundle")
    shown.add_row("attacked", f"{result.images:,} test images; paired 95 % intervals")
    return shown


def version_name(to: Path, asked: str | None, old: Path) -> str:
    """The name of the next version in a directory of versions.

    Raises:
        HoldfastError: the name is taken, is no version's, or would not be the newest.

    """
    names = sorted((path.name for path in to.iterdir() if is_version_name(path.name)), key=natural) if to.is_dir() else []
    if asked is None:
        return counted_up(names[-1] if names else old.resolve().name)
    if not is_version_name(asked) or Path(asked).name != asked:
        raise HoldfastError(f"{asked!r} is no version's name: name it by --as, for instance v2")
    if names and natural(asked) <= natural(names[-1]):
        raise HoldfastError(f"{asked!r} would not be the newest in {to}, which is {names[-1]}: name a later one by --as")
    return asked


def publish(new: Bundle, to: Path, name: str) -> None:
    """Copy a bundle into a directory of versions: aside, and then renamed, so that no server sees a part of it."""
    make_directory(to)
    aside = to / f".{name}.part"
    copy(new, aside)
    aside.rename(to / name)
    sync(to)
