"""Reports of earlier versions, brought to the present schema: one step for each version."""

from collections.abc import Callable
from typing import Any

from holdfast.bundle.threat_model import ThreatModel
from holdfast.intervals import wilson

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


def _from_4(report: RawReport) -> RawReport:
    """What attacked exemplars are worth was not measured, nor kept which images are wrong.

    Where credibility was measured again, what the suites had found beyond that run was not counted as wrong. Of two runs on
    as many images as the report's, which were the same where nobody chose another seed, it is known how many that is at least.
    """
    return report | {"aimed": [_with_suites(one, report) for one in report.get("aimed", [])], "report_version": 5}


def _from_5(report: RawReport) -> RawReport:
    """Answers under shifts were not measured; nothing has another meaning."""
    return report | {"report_version": 6}


def _with_suites(aimed: RawReport, report: RawReport) -> RawReport:
    trials, found = aimed["wrong"]["trials"], aimed["wrong"]["successes"]
    theirs = [
        one["robust"]["trials"] - one["robust"]["successes"]
        for one in report["threats"]
        if str(ThreatModel(one["norm"], one["epsilon"])) == aimed["threat"] and one["robust"]["trials"] == trials
    ]
    more = max([0, *(count - found for count in theirs)])
    counted = {name: _measured(aimed[name]["successes"] + more, trials) for name in ("wrong", "answered")}
    return aimed | counted | {"beyond": more}


def _measured(successes: int, trials: int) -> RawReport:
    low, high = wilson(successes, trials)
    value = successes / trials if trials else None
    return {"successes": successes, "trials": trials, "value": value, "low": low, "high": high}


MIGRATIONS: dict[Any, Callable[[RawReport], RawReport]] = {1: _from_1, 2: _from_2, 3: _from_3, 4: _from_4, 5: _from_5}
