"""`holdfast index BUNDLE` and `holdfast index merge WORK...`: the command line."""

import argparse
import csv
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from holdfast.bundle.reader import read_manifest
from holdfast.bundle.threat_model import ball
from holdfast.console import Console
from holdfast.data.streaming.training import MEMORY_GB
from holdfast.exit_status import GOES_ON, exit_status
from holdfast.index_build.adapting.adaptation import IndexChanges
from holdfast.index_build.adapting.classes import ClassChanges, parse_renaming
from holdfast.index_build.adapting.run import SetOptions, adapt_index
from holdfast.index_build.adapting.sharded import embed_shard, merge_shards
from holdfast.index_build.build import complete_bundle
from holdfast.index_build.calibrate import recalibrate
from holdfast.index_build.command.idle import refuse_idle
from holdfast.index_build.command.parser import index_parser, merge_parser
from holdfast.index_build.command.summary import print_calibration, print_summary
from holdfast.index_build.harden import Hardening
from holdfast.index_build.options import IndexBuildError, IndexOptions


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    command = shlex.join(["python", "-m", "index_build", *typed])
    if typed[:1] == ["merge"]:
        merging = merge_parser().parse_args(typed[1:])
        return exit_status("holdfast index merge", lambda: run_merge(merging, command), again=GOES_ON)
    parser = index_parser()
    options = parser.parse_args(typed)

    def run_index() -> None:
        refuse_idle(options, parser)
        run(options, command)

    return exit_status("holdfast index", run_index, again=GOES_ON)


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
        print_calibration(options.bundle, manifest)
        return
    how = _index_options(options, command, options.bundle)
    chosen, changes = _set_options(options), _changes(options)
    if options.shard is not None:
        if chosen is None or options.out is None:
            raise IndexBuildError("--shard embeds a part of a set into a folder: name them by --data and --out")
        images = embed_shard(options.bundle, options.out, chosen, options.shard, how)
        Console().print(f"{options.out}: {images:,} images of shard {options.shard[0]}/{options.shard[1]} are there")
        return
    if chosen is None and options.out is None and not (changes.classes.any or changes.k):
        complete_bundle(options.bundle, None, how, data_dir=options.data_dir)
        print_summary(options.bundle, read_manifest(options.bundle))
        return
    out = options.out or default_out(options.bundle, options.data)
    print_summary(out, adapt_index(options.bundle, out, chosen, changes, how))


def run_merge(options: argparse.Namespace, command: str) -> None:
    """Make the bundle of some shards and say what came of it."""
    how = _index_options(options, command, options.bundle)
    print_summary(options.out, merge_shards(options.works, options.out, _changes(options), how, directory=options.bundle))


def default_out(bundle: Path, data: str | None) -> Path:
    """Where a new bundle is made if nobody says where: beside the old one, named by it and the set."""
    return bundle.resolve().with_name(f"{bundle.resolve().name}-{Path(data).resolve().stem if data else 'reindexed'}")


def _index_options(options: argparse.Namespace, command: str, bundle: Path | None) -> IndexOptions:
    return IndexOptions(
        batch_size=options.batch_size,
        threads=options.threads,
        device=options.device,
        coverage=options.coverage,
        kind=options.index,
        half=options.half,
        hardening=_hardening(options, bundle),
        choose_vote=options.choose_vote,
        prior_correction=options.prior_correction,
        processes=options.processes,
        memory=getattr(options, "memory", MEMORY_GB),
        ray=options.launcher == "ray",
        canary=options.canary,
        labels=options.labels,
        doubted=options.doubted,
        pseudo=getattr(options, "pseudo", None),
        command=command,
    )


def _set_options(options: argparse.Namespace) -> SetOptions | None:
    if options.data is None:
        return None
    return SetOptions(
        data=options.data,
        directory=options.data_dir,
        calibration=options.calibration,
        seed=options.seed,
        skip_unreadable=options.skip_unreadable,
        max_pixels=options.max_pixels,
        few_shot=options.few_shot,
    )


def _changes(options: argparse.Namespace) -> IndexChanges:
    order = tuple(next(csv.reader([options.order], skipinitialspace=True), [])) if options.order else ()
    return IndexChanges(classes=ClassChanges(parse_renaming(options.rename), order), k=options.k, merge=options.merge)


def _hardening(options: argparse.Namespace, bundle: Path | None) -> Hardening | None:
    if not options.harden:
        if options.harden_within:
            raise IndexBuildError("--harden-within does nothing without --harden SHARE")
        return None
    within = options.harden_within
    if within is None and bundle is None:
        raise IndexBuildError("--harden needs --harden-within BALL here, or --bundle BUNDLE, whose ball is taken")
    threat = ball(within) if within else read_manifest(Path(bundle or "")).ball
    try:
        return Hardening(options.harden, threat)
    except ValueError as error:
        raise IndexBuildError(f"--harden: {error}") from None
