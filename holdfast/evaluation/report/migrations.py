"""Reports of earlier versions, brought to the present schema: one step for each version."""

from collections.abc import Callable
from typing import Any

RawReport = dict[str, Any]


def migrated(report: Any) -> Any:
    """A report as JSON holds it, of whatever version, in the present schema; what is no such report comes back as it is."""
    while isinstance(report, dict) and (step := MIGRATIONS.get(report.get("report_version"))) is not None:
        report = step(report)
    return report


def _from_1(report: RawReport) -> RawReport:
    names = {"gates": "sanity_checks", "alarms": "detectors", "circumstances": "provenance"}
    return {names.get(name, name): value for name, value in report.items()} | {"report_version": 2}


def _from_2(report: RawReport) -> RawReport:
    """Validity and classes were not measured yet; nothing has another meaning."""
    return report | {"report_version": 3}


def _from_3(report: RawReport) -> RawReport:
    """Attacks ignored credibility, and said nothing of it."""
    images = report["attacked_images"], report["clean"]["trials"]
    selective = [
        one | {"attacker": "nobody" if one["name"] == "clean" else "ignores it", "images": images[one["name"] == "clean"]}
        for one in report["selective"]
    ]
    return report | {"selective": selective, "report_version": 4}


MIGRATIONS: dict[Any, Callable[[RawReport], RawReport]] = {1: _from_1, 2: _from_2, 3: _from_3}
