"""Evaluations as a person reads them on a terminal."""

from collections import Counter

from rich.console import Console
from rich.table import Table

from holdfast.bundle.threat_model import ThreatModel
from holdfast.evaluation.quick import Evaluation
from holdfast.evaluation.report.results import Report
from holdfast.evaluation.sanity.checks import percent


def table(name: str, evaluation: Evaluation) -> Table:
    """The result as a person reads it."""
    shown = Table(title=f"{name} under {evaluation.threat}", show_header=False, title_justify="left")
    shown.add_row("clean accuracy", str(evaluation.clean))
    shown.add_row("robust accuracy", str(evaluation.robust))
    shown.add_row("DSR", str(evaluation.dsr))
    shown.add_row("attack", evaluation.attack)
    for rung, count in found_by(evaluation).items():
        shown.add_row(f"  found by {rung}", str(count))
    shown.add_row("surrogate = served", str(evaluation.agreement))
    shown.add_row("images", f"{len(evaluation.labels)}, judged on the served vote; 95 % Wilson intervals")
    shown.add_row("answers computed on", str(evaluation.served_on))
    shown.add_row("seconds", f"{evaluation.seconds:.1f}")
    return shown


def found_by(evaluation: Evaluation) -> dict[str, int]:
    """How many images each rung of the attack was the first to fool, the most successful one first."""
    return dict(Counter(name for name in evaluation.outcome.found_by if name).most_common())


def tell(report: Report, console: Console) -> None:
    """The report in short; gates that failed in red, with what that means."""
    shown = Table("ball", "bank", "clean", "robust, 95 % interval", "DSR", title=report.subject.name, title_justify="left")
    for threat in report.threats:
        clean, robust, dsr = (measured.rate for measured in (threat.clean, threat.robust, threat.dsr))
        bank = threat.knowledge.removeprefix("bank ")
        shown.add_row(
            str(ThreatModel(threat.norm, threat.epsilon)), bank, percent(clean.value), str(robust), percent(dsr.value)
        )
    console.print(shown)
    console.print(f"clean accuracy on all {report.clean.trials} test images: {report.clean.rate}", highlight=False)
    for gate in report.gates:
        style, verdict = ("green", "held") if gate.passed else ("red", "FAILED")
        console.print(f"{verdict:>6}  {gate.name}: {gate.measured}", style=style, markup=False, highlight=False)
        if not gate.passed:
            console.print(f"        asked: {gate.asks}; {gate.why}", style="red", markup=False, highlight=False)
