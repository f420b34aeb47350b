"""python -m holdfast.evaluation.report BUNDLE: write the page of a report again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from holdfast.errors import HoldfastError
from holdfast.evaluation.report.page import render, state
from holdfast.evaluation.report.writing import PAGE, read_report, write_report
from holdfast.files import write_atomically

DESCRIPTION = """Write the page of a bundle's report again, from the numbers in its report/report.json. Nothing is measured.

  python -m holdfast.evaluation.report runs/digits                       after an upgrade: report/index.html anew
  python -m holdfast.evaluation.report runs/digits --out report.html     a copy to send; the bundle stays as it is
  python -m holdfast.evaluation.report bundles/mine --without-pictures   for a bundle that goes where its images may not

The page is one file that loads nothing: open it in a browser, mail it, print it. A report with a failed sanity check says so
at the top. To measure a bundle, see python -m holdfast.evaluation --help.
"""

REFUSED = 2


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
    config = tyro.cli(ReportConfig, args=arguments, prog="python -m holdfast.evaluation.report", description=DESCRIPTION)
    console = Console()
    try:
        report = read_report(config.bundle)
        if config.without_pictures:
            report = report.without_pictures()
        if config.out is None:
            write_report(config.bundle, report)
        else:
            write_atomically(config.out, render(report).encode())
    except HoldfastError as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return REFUSED
    written = config.out or config.bundle / PAGE
    console.print(f"{written}: {len(report.sanity_checks)} sanity checks, {state(report)}", markup=False, highlight=False)
    return 0
