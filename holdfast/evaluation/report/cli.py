"""python -m holdfast.evaluation.report BUNDLE: write the page of a report again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from holdfast.console import Console
from holdfast.evaluation.report.page import render, state
from holdfast.evaluation.report.writing import PAGE, read_report, write_report
from holdfast.exit_status import DONE, exit_status
from holdfast.files import write_atomically

DESCRIPTION = """Write the page of a bundle's report again, from the numbers in its report/report.json. Nothing is measured.

  python -m holdfast.evaluation.report runs/digits                       after an upgrade: report/index.html anew
  python -m holdfast.evaluation.report runs/digits --out report.html     a copy to send; the bundle stays as it is
  python -m holdfast.evaluation.report bundles/mine --without-pictures   for a bundle that goes where its images may not

The page is one file that loads nothing: open it in a browser, mail it, print it. A report with a failed sanity check says so
at the top. To measure a bundle, see holdfast evaluate --help.
"""

PROGRAM = "python -m holdfast.evaluation.report"


@dataclass(frozen=True)
class ReportConfig:
    """Which report, and where its page goes."""

    bundle: Annotated[Path, tyro.conf.Positional]
    """Directory of a bundle that holds report/report.json."""

    out: Path | None = None
    """Write the page to this file instead of into the bundle."""

    without_pictures: bool = False
    """Leave out the images of the data set, from the page and, unless --out is given, from the bundle for good."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    config = tyro.cli(ReportConfig, args=arguments, prog=PROGRAM, description=DESCRIPTION)
    return exit_status(PROGRAM, lambda: write_again(config))


def write_again(config: ReportConfig) -> int:
    """Write the page, into the bundle or elsewhere; returns the exit status."""
    report = read_report(config.bundle)
    if config.without_pictures:
        report = report.without_pictures()
    if config.out is None:
        write_report(config.bundle, report)
    else:
        write_atomically(config.out, render(report).encode())
    written = config.out or config.bundle / PAGE
    line = f"{written}: {len(report.sanity_checks)} sanity checks, {state(report)}"
    Console().print(line, markup=False, highlight=False)
    return DONE
