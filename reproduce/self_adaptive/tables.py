"""The tables, in Markdown: what was measured at each rate of noise, who found wrong labels, and who ranks answers best."""

from collections.abc import Mapping, Sequence

from holdfast.data.noise import label_error_rate
from reproduce.kept_results import Figures
from reproduce.markdown import grid, percent
from reproduce.self_adaptive.findings import audits_of, rate_of
from reproduce.self_adaptive.scales import AdaptiveScale
from reproduce.self_adaptive.selective import COVERAGES, areas, read_scores, running_errors
from reproduce.self_adaptive.trainings import (
    ABSTAINING,
    ONE_VIEW,
    SIMCLR,
    TRADES,
    TRADES_ADAPTED,
    TWO_VIEWS,
    adapted_name,
    plain_name,
)

TITLES = {
    TRADES: "TRADES",
    TRADES_ADAPTED: "TRADES, self-adaptive",
    SIMCLR: "SimCLR",
    ONE_VIEW: "self-distilled, one view",
    TWO_VIEWS: "self-distilled, two views",
}


def tables(scale: AdaptiveScale, figures: Mapping[str, Figures], classes: int) -> list[tuple[str, str]]:
    """Title and table of all that was measured."""
    found = [
        ("Accuracy on noisy labels", noise_table(scale, figures, classes)),
        ("Who finds the wrong labels", audit_table(scale, figures)),
        ("Errors at a coverage", selective_table(figures)),
        ("Attacked", robust_table(figures)),
        ("Label-free", label_free_table(figures)),
    ]
    return [(title, table) for title, table in found if table]


def noise_table(scale: AdaptiveScale, figures: Mapping[str, Figures], classes: int) -> str:
    """A row for each training and rate: its classifier, and votes on given and on adapted labels."""
    rows = []
    for rate in sorted(scale.rates):
        noise = f"{100 * rate:.0f} ({100 * label_error_rate(rate, classes):.0f} wrong)"
        for name, title, labels in (
            (f"untouched-{100 * rate:.0f}", "true labels", "given"),
            (plain_name(rate), "cross-entropy", "given"),
            (adapted_name(rate), "self-adaptive", "given"),
            (adapted_name(rate), "self-adaptive", "adapted"),
        ):
            if name not in figures:
                continue
            measured = figures[name]
            head = percent(rate_of(measured["head"])) if labels == "given" and "head" in measured else "-"
            votes = measured["knn" if labels == "given" else "knn_adapted"]
            rows.append([noise, title, labels, head, *(f"{100 * rate_of(votes[str(k)]).value:.1f}" for k in scale.ks)])
    headings = ["noise, %", "encoder trained on", "exemplars' labels", "classifier", *(f"kNN, k = {k}" for k in scale.ks)]
    return grid(headings, rows) if rows else ""


def audit_table(scale: AdaptiveScale, figures: Mapping[str, Figures]) -> str:
    """Precision and recall of both audits on planted noise, and what became of the labels."""
    rows = []
    for rate in sorted(scale.rates):
        for audit in audits_of(rate, figures):
            precision, recall = audit.precision.rate, audit.recall.rate
            rows.append([f"{100 * rate:.0f}", audit.title, f"{audit.flagged.sum():,}", percent(precision), percent(recall)])
    return grid(["noise, %", "audit", "flagged", "precision", "recall"], rows) if rows else ""


def selective_table(figures: Mapping[str, Figures]) -> str:
    """Errors among the answers that are given, by who decides which are; clean, and under an attack aimed at the score."""
    rows = []
    for name, title in ((plain_name(0), "cross-entropy"), (ABSTAINING, "with abstain logit")):
        measured = figures.get(f"scores-{name}", {})
        for score in measured.get("scores", ()):
            for attacked in (False, True):
                wrong, trusted = read_scores(measured, score, attacked=attacked)
                errors = running_errors(wrong, trusted)
                places = [max(0, round(coverage * len(wrong)) - 1) for coverage in COVERAGES]
                cells = [f"{100 * errors[place]:.2f}" for place in places]
                area = f"{100 * areas(wrong, trusted):.2f}"
                rows.append([title, score, "attacked" if attacked else "clean", *cells, area])
    headings = ["network", "score", "images", *(f"{100 * coverage:.0f} %" for coverage in COVERAGES), "area"]
    return grid(headings, rows) if rows else ""


def robust_table(figures: Mapping[str, Figures]) -> str:
    """Clean and robust accuracy of TRADES, with and without adaptation."""
    rows = [
        [TITLES[name], percent(rate_of(figures[name]["head"])), percent(rate_of(figures[name]["robust"]))]
        for name in (TRADES, TRADES_ADAPTED)
        if name in figures
    ]
    return grid(["training", "clean", "robust"], rows) if rows else ""


def label_free_table(figures: Mapping[str, Figures]) -> str:
    """What label-free encoders are worth to a linear classifier and to a vote."""
    rows: Sequence[list[str]] = [
        [
            TITLES[name],
            percent(rate_of(figures[name]["linear"])),
            percent(rate_of(figures[name]["knn"])),
        ]
        for name in (SIMCLR, ONE_VIEW, TWO_VIEWS)
        if name in figures
    ]
    return grid(["training", "linear", "kNN"], rows) if rows else ""
