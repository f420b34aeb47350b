"""Evaluations as a person reads them on a terminal."""

from rich.table import Table

from holdfast.bundle.threat_model import ThreatModel
from holdfast.console import Console, property_table
from holdfast.evaluation.report.results import Report
from holdfast.evaluation.result import Evaluation
from holdfast.evaluation.sanity.checks import format_share
from holdfast.intervals import Difference


def quick_table(name: str, evaluation: Evaluation) -> Table:
    """One attack within one ball."""
    shown = property_table(f"{name} under {evaluation.threat}")
    shown.add_row("clean accuracy", str(evaluation.clean))
    shown.add_row("robust accuracy", str(evaluation.robust))
    shown.add_row("DSR", str(evaluation.dsr))
    shown.add_row("attack", evaluation.attack)
    for attack, count in evaluation.found_by.items():
        shown.add_row(f"  found by {attack}", str(count))
    if evaluation.agreement.trials:
        shown.add_row("surrogate = served", str(evaluation.agreement))
    shown.add_row("images", f"{len(evaluation.labels)}, judged on the served vote; 95 % Wilson intervals")
    shown.add_row("answers computed on", str(evaluation.served_on))
    shown.add_row("seconds", f"{evaluation.seconds:.1f}")
    return shown


def answer_tables(report: Report) -> list[Table]:
    """Clean, each class, and whether credibility is valid; under attack, what abstention and attacked exemplars are worth."""
    names, tables = report.subject.class_names, []
    if report.classes:
        shown = Table("class", "exemplars", "accuracy, 95 % interval", "answered", "right if answered so", title="by class")
        for one in report.classes:
            measured = [str(part.rate) for part in (one.accuracy, one.coverage, one.precise)]
            shown.add_row(names[one.label], f"{one.exemplars:,}", *measured)
        tables.append(shown)
    if report.validity:
        shown = Table("p-value at most", "true labels", "answers", title="validity: shares of test images, at most the level")
        for point in report.validity:
            shown.add_row(f"{point.level:g}", str(point.true_labels.rate), str(point.answers.rate))
        tables.append(shown)
    if report.aimed:
        title = "answered and wrong under attack, of all attacked images"
        shown = Table("ball", "attacker aims at credibility", "ignores it", "wrong answers stopped", title=title)
        for aimed in report.aimed:
            stopped = f"{aimed.stopped} of {aimed.wrong.successes}"
            shown.add_row(aimed.threat, str(aimed.answered.rate), str(aimed.ignoring.rate), stopped)
        tables.append(shown)
    if report.hardened:
        shown = Table("images", "index as shipped", "no exemplar attacked", "difference, points", title="attacked exemplars")
        for pair in report.hardened.accuracies:
            apart = Difference(pair.difference, pair.low, pair.high)
            shown.add_row(pair.condition, str(pair.hardened.rate), str(pair.plain.rate), str(apart))
        tables.append(shown)
    if report.shifts:
        shown = Table("images", "right", "answered", "answered and wrong", "another answer", title="shifts that nobody made")
        for shift in report.shifts:
            rates = [part.rate for part in (shift.accuracy, shift.answered, shift.wrong, shift.flips)]
            shown.add_row(shift.name, *map(str, rates))
        tables.append(shown)
    return tables


def print_report(report: Report, console: Console) -> None:
    """The report in short; sanity checks that failed in red, with what that means."""
    shown = Table("ball", "bank", "clean", "robust, 95 % interval", "DSR", title=report.subject.name, title_justify="left")
    for threat in report.threats:
        clean, robust, dsr = (measured.rate for measured in (threat.clean, threat.robust, threat.dsr))
        bank = threat.knowledge.removeprefix("bank ")
        ball = str(ThreatModel(threat.norm, threat.epsilon))
        shown.add_row(ball, bank, format_share(clean.value), str(robust), format_share(dsr.value))
    console.print(shown)
    console.print(f"clean accuracy on all {report.clean.trials} test images: {report.clean.rate}", highlight=False)
    for table in answer_tables(report):
        console.print(table)
    for check in report.sanity_checks:
        style, verdict = ("green", "passed") if check.passed else ("red", "FAILED")
        console.print(f"{verdict}  {check.name}: {check.measured}", style=style, markup=False, highlight=False)
        if not check.passed:
            console.print(f"        asked: {check.asks}; {check.why}", style="red", markup=False, highlight=False)
