"""`holdfast index BUNDLE`: embed the labelled set, build and verify the index, calibrate, record."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rich.table import Table

from holdfast.bundle.exemplars import Exemplars, Flag
from holdfast.bundle.manifest import IndexRecord, Manifest
from holdfast.bundle.migrations import FLAT
from holdfast.bundle.reader import EXEMPLARS, read_manifest
from holdfast.bundle.threat_model import ball
from holdfast.console import Console
from holdfast.exit_status import GOES_ON, exit_status, explain_statuses
from holdfast.flags import whole_number
from holdfast.index_build.build import build_index
from holdfast.index_build.calibrate import recalibrate
from holdfast.index_build.canary import IMAGES
from holdfast.index_build.harden import Hardening
from holdfast.index_build.options import IndexBuildError
from holdfast.intervals import Rate
from holdfast.model.credibility import COVERAGE
from holdfast.model.device_choice import DeviceChoice
from holdfast.model.index_choice import AUTO
from holdfast.model.resolution import describe_resolution
from holdfast.model.retrieval.table import RETRIEVERS

ABOUT = """\
Complete a bundle that holdfast train wrote, so that holdfast serve can serve it.

Reads the labelled set that the encoder was trained with (the manifest names it, and its hash is checked), embeds the
training part through encoder.onnx, and writes the index (index.faiss, exact cosine search) and exemplars.npz (id, label,
source, flags). Verifies the index against brute force, flags exemplars that disagree with their own neighbours, calibrates
credibility on the part held out for it, and commits all of it to manifest.json at once.

If it is cut short, run it again: finished parts are kept in BUNDLE/.index_build/ until the end.

examples:
  holdfast index runs/digits
  holdfast index runs/cifar10 --data-dir /data/cifar10 --threads 4 --half
  holdfast index runs/cifar10 --harden 0.25 --harden-within linf:8/255 --choose-vote
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(typed)
    command = shlex.join(["python", "-m", "index_build", *typed])
    return exit_status("holdfast index", lambda: run(options, command), again=GOES_ON)


def run(options: argparse.Namespace, command: str) -> None:
    """Build the index and say what came of it; `command` is recorded in the manifest."""
    if options.recalibrate:
        manifest = recalibrate(
            options.bundle,
            data_dir=options.data_dir,
            threads=options.threads,
            batch_size=options.batch_size,
            coverage=options.coverage,
        )
        _print_calibration(options.bundle, manifest)
        return
    record = build_index(
        options.bundle,
        data_dir=options.data_dir,
        batch_size=options.batch_size,
        threads=options.threads,
        device=options.device,
        coverage=options.coverage,
        kind=options.index,
        half=options.half,
        hardening=_hardening(options),
        choose_vote=options.choose_vote,
        canary=options.canary,
        command=command,
    )
    _print_summary(options.bundle, record, read_manifest(options.bundle))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="holdfast index",
        description=ABOUT,
        epilog=explain_statuses(0, 1, 2, 130, 143),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="directory that holds manifest.json and encoder.onnx")
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="where the labelled set lies, if not where the trainer found it"
    )
    parser.add_argument(
        "--batch-size", type=whole_number(1), default=256, metavar="N", help="images embedded at once (default: %(default)s)"
    )
    parser.add_argument(
        "--threads",
        type=whole_number(1),
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        help="threads of ONNX Runtime (default: the cores this process may use, %(default)s)",
    )
    parser.add_argument(
        "--device",
        choices=get_args(DeviceChoice),
        default="cpu",
        help="where images are embedded, and attacked where that is asked for: cuda takes the GPU or ends, auto takes it if it"
        " can and says so; all else is done on the CPU (default: %(default)s)",
    )
    parser.add_argument(
        "--recalibrate",
        action="store_true",
        help="only calibrate credibility again, by the index that is there: on the images of calibration.npz, or where the"
        " bundle has none yet, on the calibration part of its labelled set",
    )
    _add_canary(parser)
    _add_index_options(parser)
    return parser


def _add_canary(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--canary",
        type=int,
        default=IMAGES,
        metavar="N",
        help="put at most N images of the test part into the bundle, clean and attacked, with the answers that it gives: a"
        " server tries them before it serves the bundle; 0 puts none in (default: %(default)s)",
    )


def _add_index_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--coverage",
        type=float,
        default=COVERAGE,
        metavar="SHARE",
        help="the least share of calibration images to be answered; the others make the server abstain (default: %(default)s)",
    )
    parser.add_argument(
        "--index",
        default=FLAT,
        metavar="KIND",
        help=f"the kind of index: {', '.join(sorted([*RETRIEVERS, AUTO]))}. flat searches exactly; auto takes the cheapest that"
        " answers 99.9 %% of the held-out images as flat does; milvus is asked for by its address, milvus://HOST:PORT?index=ivf,"
        " and keeps the exemplars in a collection of that server (default: %(default)s)",
    )
    parser.add_argument(
        "--half",
        action="store_true",
        help="round embeddings to float16: half the file; similarities move by less than 0.0005",
    )
    parser.add_argument(
        "--harden",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="attack this share of the exemplars and put what comes out in their place, under their true labels: more robust,"
        " a little less accurate on clean images; minutes (default: none)",
    )
    parser.add_argument(
        "--harden-within",
        metavar="BALL",
        help="the ball that these are attacked within, for instance linf:8/255 (default: the bundle's threat model)",
    )
    parser.add_argument(
        "--choose-vote",
        action="store_true",
        help="choose the number of neighbours and the temperature on the calibration images: of the votes that the surrogate"
        " of attacks agrees with, the one of the best mean of clean and attacked accuracy; minutes, as images are attacked",
    )


def _hardening(options: argparse.Namespace) -> Hardening | None:
    if not options.harden:
        if options.harden_within:
            raise IndexBuildError("--harden-within does nothing without --harden SHARE")
        return None
    within = options.harden_within
    threat = ball(within) if within else read_manifest(options.bundle).threat_model.model()
    try:
        return Hardening(options.harden, threat)
    except ValueError as error:
        raise IndexBuildError(f"--harden: {error}") from None


def _print_summary(directory: Path, record: IndexRecord, manifest: Manifest) -> None:
    table = Table(title=f"{directory}: ready to serve", show_header=False, title_justify="left")
    parameters = ", ".join(f"{name} {value}" for name, value in record.parameters.items())
    table.add_row("index", f"{record.kind}: {parameters}" if parameters else record.kind)
    if record.reason:
        table.add_row("because", record.reason)
    if agreed := record.vote_agreement:
        table.add_row("answers as an exact search does", str(Rate(agreed.alike, agreed.images)))
    table.add_row("exemplars", f"{record.exemplars:,} of {len(manifest.class_names)} classes")
    vote = manifest.vote
    how = vote.weighting if vote.weighting == "uniform" else f"{vote.weighting}, temperature {vote.temperature:g}"
    table.add_row("vote", f"the {vote.k} nearest, {how}")
    table.add_row(f"recall@{manifest.vote.k} against brute force", f"{record.recall_at_k:.4f}")
    if attacked := int((Exemplars.load(directory / EXEMPLARS).flags & Flag.ATTACKED > 0).sum()):
        table.add_row("hardened", f"{attacked:,} of the exemplars are attacked images")
    table.add_row("disagree with their neighbours", f"{record.disagreement_ratio:.2%} (flagged, kept)")
    table.add_row(*_calibration_row(manifest))
    console = Console()
    console.print(table)
    bundle = shlex.quote(str(directory))
    console.print(f"next: holdfast evaluate {bundle}    or: holdfast serve {bundle}")


def _print_calibration(directory: Path, manifest: Manifest) -> None:
    table = Table(title=f"{directory}: credibility is calibrated again", show_header=False, title_justify="left")
    table.add_row(*_calibration_row(manifest))
    Console().print(table)


def _calibration_row(manifest: Manifest) -> tuple[str, str]:
    calibration = manifest.calibration
    if calibration is None:
        return "credibility", "not calibrated: the set has no calibration part"
    images = len(calibration.nonconformity)
    covered = f"{calibration.coverage:.1%} of {images} held-out images"
    warning = describe_resolution(images)
    said = f"{calibration.abstain_below:.3f} (answers {covered})" + (f"\nwarning: {warning}" if warning else "")
    return "abstains below credibility", said
