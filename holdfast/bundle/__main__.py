"""`holdfast bundle`: look at a bundle, or take it elsewhere."""

import argparse
import shutil
import sys
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from rich.table import Table

from holdfast.bundle.reader import CANARY, Bundle
from holdfast.bundle.threat_model import ThreatModel
from holdfast.bundle.writer import BundleWriter
from holdfast.console import Console, property_table
from holdfast.errors import BundleError
from holdfast.exit_status import exit_status, explain_statuses

ABOUT = """\
A bundle is one directory: an encoder, its gradient, an index of labelled images, and a manifest with the hash of each file.

examples:
  holdfast bundle check runs/digits                 verify every hash and that the parts fit each other; say what it is
  holdfast bundle copy runs/digits bundles/digits   verify, then copy what the manifest names: no checkpoints, no logs

A canary (canary.npz) holds images of the labelled set, and is copied as well: leave it out by --without-canary where these must
not be passed on.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="holdfast bundle",
        description=ABOUT,
        epilog=explain_statuses(0, 1, 2, 130, 143),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="verify a bundle and say what it is")
    copied = commands.add_parser("copy", help="verify a bundle and copy it")
    for command in (check, copied):
        command.add_argument("bundle", metavar="BUNDLE", type=Path, help="directory of a complete bundle")
    copied.add_argument("to", metavar="TO", type=Path, help="directory to make, or a bundle to replace")
    copied.add_argument(
        "--without-canary", action="store_true", help="leave canary.npz out, which holds some of the set's test images"
    )
    options = parser.parse_args(arguments)
    return exit_status("holdfast bundle", lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Open the bundle, copy it where that is asked for, and say what it is."""
    bundle = Bundle.open(options.bundle)
    if options.command == "copy":
        copy(bundle, options.to, without={CANARY} if options.without_canary else set())
        bundle = Bundle.open(options.to)
    Console().print(table(bundle, bundle.directory))


def copy(bundle: Bundle, to: Path, *, without: Collection[str] = ()) -> None:
    """Copy the files that the manifest of an open `bundle` names, but for some, and the manifest last.

    Raises:
        BundleError: `to` is the bundle itself, or holds something that is not a bundle.

    """
    if to.resolve() == bundle.directory.resolve():
        raise BundleError(f"{to} is the bundle itself; name another directory")
    writer = BundleWriter.create(to)
    for name in [name for name in bundle.manifest.files if name not in without]:
        writer.add(name, partial(shutil.copyfile, bundle.directory / name))
    writer.commit(bundle.manifest)
    for name in without:  # of a bundle that was there
        (to / name).unlink(missing_ok=True)


def table(bundle: Bundle, directory: Path) -> Table:
    """What a bundle is, for a person."""
    manifest = bundle.manifest
    shown = property_table(str(directory))
    shown.add_row("name", manifest.name)
    shown.add_row("classes", ", ".join(manifest.class_names))
    shown.add_row("images", f"{manifest.input.height} x {manifest.input.width}")
    shown.add_row("exemplars", f"{bundle.index.size:,}")
    shown.add_row("index", str(bundle.index))
    how = "" if manifest.vote.weighting == "uniform" else f", exponential, temperature {manifest.vote.temperature:g}"
    shown.add_row("vote", f"the {manifest.vote.k} nearest{how}")
    if manifest.uncalibrated:
        shown.add_row("credibility", manifest.uncalibrated)
    threat = manifest.threat_model
    shown.add_row("threat model", str(threat.model()) if threat else "none: it listens, and no attacker of sound is modelled")
    if threat is not None and not manifest.hardened:
        shown.add_row("hardened", "no, by nobody: the threat model is what attacks are tried within")
    if manifest.training is not None and manifest.training.augmentations:
        shown.add_row("learned from", manifest.training.augmentations)
    if manifest.accuracy:
        shown.add_row("clean accuracy", f"{manifest.accuracy.clean:.1%}")
        robust = f"{manifest.accuracy.robust:.1%} of {manifest.accuracy.images:,} images"
        shown.add_row("robust accuracy", robust)
    shown.add_row("canary", _canary(bundle))
    if (head := bundle.head) is not None:
        logit = ", and an abstain logit" if head.abstains else ""
        alike = f"on embeddings of unit length, {head.agreement:.1%} of its answers are those that it was trained to give"
        shown.add_row("classifier", f"{head.classes} classes{logit}; {alike}")
    if (training := manifest.training) is not None:
        shown.add_row("trained by", training.command)
    if (imported := manifest.imported) is not None:
        shown.add_row("imported by", imported.command)
        shown.add_row("imported from", f"{imported.source}, sha256 {imported.sha256[:16]}")
    if training is not None and (parent := training.hardened_from) is not None:
        within = ThreatModel(parent.norm, parent.epsilon)
        shown.add_row(
            "hardened from", f"{parent.parent}, sha256 {parent.parent_sha256[:16]}, by {parent.method} within {within}"
        )
    for name in manifest.files:
        shown.add_row(name, f"{(bundle.directory / name).stat().st_size / 1e6:.1f} MB")
    return shown


def _canary(bundle: Bundle) -> str:
    canary = bundle.canary_set
    if canary is None:
        return "none: a server that loads this version has less to try it by"
    robust = "" if canary.robust_accuracy is None else f", {canary.robust_accuracy:.0%} of them attacked within {canary.threat}"
    return f"{len(canary)} test images of its set, {canary.clean_accuracy:.0%} answered rightly{robust}"


if __name__ == "__main__":
    sys.exit(main())
