"""Flags of `holdfast index` that would do nothing, beside what else was asked for: refused, so that nobody counts on them."""

import argparse

from holdfast.index_build.options import IndexBuildError

COMPUTING = {"batch_size", "threads", "device", "processes", "launcher"}
SET = {"data", "data_dir", "calibration", "few_shot", "seed", "skip_unreadable", "max_pixels"}
RECALIBRATED_BY = {"bundle", "recalibrate", "data_dir", "coverage", "batch_size", "threads"}
EMBEDDED_BY = {"bundle", "out", "shard", "half", *COMPUTING, *SET}
ONLY_OF_A_SET = {"merge", *SET} - {"data", "data_dir"}


def refuse_idle(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raise IndexBuildError where a flag is given that the rest of the command line leaves nothing to do.

    A flag that is given with its default value cannot be told from one that is not given.
    """
    given = [name for name, value in vars(options).items() if value != parser.get_default(name)]
    if options.recalibrate:
        idle, why = [name for name in given if name not in RECALIBRATED_BY], "with --recalibrate, which keeps index and vote"
    elif options.shard is not None:
        idle, why = [name for name in given if name not in EMBEDDED_BY], "with --shard: give it to holdfast index merge"
    elif options.data is None:
        new = any(name in given for name in ("out", "rename", "order", "k"))
        idle = [name for name in given if name in ONLY_OF_A_SET or (name == "data_dir" and new)]
        why = "without --data SET"
        if new and "pseudo" in given:
            idle, why = ["pseudo"], "for a new bundle of the exemplars that are there"
    else:
        whys = {
            "pseudo": "with --data: the classifier knows the encoder's own set",
            "memory": "with --data, whose images are never kept in memory",
        }
        idle = [name for name in given if name in whys]
        why = whys[idle[0]] if idle else ""
    if idle:
        raise IndexBuildError(f"--{idle[0].replace('_', '-')} does nothing {why}")
