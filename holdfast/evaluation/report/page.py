"""The page: a report as one HTML file that needs nothing else."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import get_args

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from holdfast.attacks.detectors import RESPONSE
from holdfast.bundle.threat_model import Norm
from holdfast.evaluation.report import words
from holdfast.evaluation.report.pictures import side
from holdfast.evaluation.report.plots import charts, judged
from holdfast.evaluation.report.plots.clouds import clouds
from holdfast.evaluation.report.results import (
    AttackResult,
    Measured,
    PredictionSets,
    Ranking,
    Report,
    Selective,
    SelectivePoint,
    SetResult,
    ThreatResult,
)
from holdfast.intervals import Rate

THRESHOLDS = (0.3, 0.5, 0.7, 0.9)
"""Of credibility, besides the server's own: what a stricter one would bring."""

LARGE = 96
"""Pictures of a longer side, in pixels, get wide cards, so that they stand at about their full size."""

SHORT = 12
"""A table of at most so many attacks is shown unfolded."""


def render(report: Report) -> str:
    """The page as HTML: the same report, the same bytes (with the same matplotlib). It loads nothing and runs nothing."""
    folder = files(__package__)
    template, css = (folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.html.j2", "page.css"))
    environment = Environment(
        loader=DictLoader({"page": template}), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    named = partial(words.class_name, names=report.subject.class_names)
    environment.filters |= {
        "percent": words.percent,
        "interval": words.interval,
        "duration": words.duration,
        "size": words.size,
        "sentence": words.sentence,
        "named": named,
        "area": words.area,
        "points": words.points,
        "attacks": words.attacks,
    }
    environment.globals["ball"] = words.ball
    return environment.get_template(
        "page"
    ).render(
        report=report,
        css=Markup(css),  # noqa: S704 - our own file
        state=state(report),
        large=any(side(example.difference_png) > LARGE for example in report.examples[:1]),
        failed=[check for check in report.sanity_checks if not check.passed],
        balls=balls(report.threats),
        attack_rows=attack_rows,
        short=SHORT,
        served=served(report),
        thresholds=thresholds(report),
        judgements=judgements(report),
        has_classifier=any(ranking.judgement == RESPONSE for ranking in report.rankings),
        set_rows=set_rows,
        at_or_below=dict(charts.at_or_below(report.reliability)),
        **_drawn(report),
    )


def state(report: Report) -> str:
    """One of "passed", "failed" and "unchecked", where no sanity check was made."""
    if not report.sanity_checks:
        return "unchecked"
    return "passed" if report.passed else "failed"


@dataclass(frozen=True)
class Ball:
    """All that was measured within one ball.

    Attributes:
        name: for instance "L-inf 8/255".
        results: the attacker who knows the bank first.

    """

    name: str
    results: tuple[ThreatResult, ...]


def balls(threats: Iterable[ThreatResult]) -> list[Ball]:
    """Results of the same ball together; L-inf before L2, small before large."""
    found: dict[tuple[bool, float, Norm], list[ThreatResult]] = {}
    for threat in threats:
        found.setdefault((threat.norm != "linf", threat.epsilon, threat.norm), []).append(threat)
    return [
        Ball(words.ball(key[2], key[1]), tuple(sorted(found[key], key=lambda result: result.knowledge)))
        for key in sorted(found)
    ]


@dataclass(frozen=True)
class AttackRow:
    """One attack of a suite, and what it left: how many of all images are still answered rightly after it."""

    number: int
    step: AttackResult
    after: Measured


def attack_rows(threat: ThreatResult) -> list[AttackRow]:
    """The attacks of a suite with the robust accuracy after each."""
    images = threat.clean.trials
    return [
        AttackRow(number, step, Measured.of(Rate(step.tried - step.found, images)))
        for number, step in enumerate(threat.steps, start=1)
    ]


def served(report: Report) -> list[tuple[str, SelectivePoint, SelectivePoint]]:
    """For each set of images its name, the point of the server's own threshold, and the point at which all are answered.

    Sets of which no image reaches the threshold, and points that do not say their credibility, are left out.
    """
    threshold = report.subject.abstain_below
    if threshold is None:
        return []
    found = []
    for one in report.selective:
        answered = [p for p in one.points if p.credibility is not None and p.credibility >= threshold]
        if answered:
            found.append((one.name, max(answered, key=_coverage), max(one.points, key=_coverage)))
    return found


def thresholds(report: Report) -> list[tuple[Selective, list[tuple[float, float, float]]]]:
    """For each attacked set (threshold, share answered, share answered and wrong), of all its images, at `THRESHOLDS`."""
    found = []
    own = report.subject.abstain_below
    for one in report.selective:
        if one.attacker == "nobody" or not one.points:
            continue
        rows = []
        for threshold in sorted({*THRESHOLDS, *([] if own is None else [own])}):
            kept = [p for p in one.points if p.credibility is not None and p.credibility >= threshold]
            last = max(kept, key=_coverage, default=None)
            rows.append((threshold, last.coverage if last else 0.0, last.coverage * last.error if last else 0.0))
        found.append((one, rows))
    return found


def judgements(report: Report) -> list[tuple[str, dict[str, Ranking]]]:
    """The rankings of each judgement, by the condition: "clean", "shifted" or "attacked"."""
    found: dict[str, dict[str, Ranking]] = {}
    for ranking in report.rankings:
        found.setdefault(ranking.judgement, {})[ranking.condition.partition(",")[0]] = ranking
    return list(found.items())


def set_rows(within: PredictionSets) -> list[list[SetResult]]:
    """Results of one calibration on images of one kind together, one for each level."""
    found: dict[tuple[str, str], list[SetResult]] = {}
    for one in within.results:
        found.setdefault((one.calibration, one.condition), []).append(one)
    return list(found.values())


def _coverage(point: SelectivePoint) -> float:
    return point.coverage


def _drawn(report: Report) -> dict[str, Sequence[Markup] | Sequence[Sequence[Markup]]]:
    """Every plot of the page, by its name in the template."""
    accuracy = []
    for norm in get_args(Norm):
        curves = [curve for curve in report.curves if curve.norm == norm and curve.points]
        threats = [threat for threat in report.threats if threat.norm == norm]
        if curves:
            accuracy.append(charts.accuracy(norm, curves, threats))
    series = [one for one in report.selective if one.points]
    confidence = []
    if any(one.accuracy.trials for one in report.reliability):
        shares = charts.at_or_below(report.reliability)
        confidence = [charts.accuracy_by_credibility(report.reliability), charts.validity(shares)]
    return {
        "accuracy": accuracy,
        "selective": [judged.selective(series), judged.answered_wrongly(series)] if series else [],
        "detection": [judged.detection(each, number) for number, each in enumerate(report.detectors) if each.roc],
        "rankings": [
            judged.rankings(condition, [one for one in report.rankings if one.condition == condition], number)
            for number, condition in enumerate(dict.fromkeys(one.condition for one in report.rankings))
        ],
        "confidence": confidence,
        "clouds": clouds(report.cloud, report.subject.class_names) if report.cloud and report.cloud.labels else [],
        "training": [charts.training(curve, number) for number, curve in enumerate(report.training)],
    }
