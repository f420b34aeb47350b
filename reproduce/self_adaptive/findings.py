"""The claims, each with the interval that decides it; one whose arms are not trained yet is not tried, and said to be so."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from holdfast.intervals import Counted, Difference, Rate, difference
from holdfast.intervals.paired import Bits
from reproduce.differences import difference_of
from reproduce.kept_results import Figures, read
from reproduce.self_adaptive.scales import AdaptiveScale
from reproduce.self_adaptive.selective import ABSTAIN, CREDIBILITY, SOFTMAX, areas, read_scores
from reproduce.self_adaptive.trainings import ABSTAINING, TRADES, TRADES_ADAPTED, adapted_name, plain_name
from reproduce.verdicts import Finding

PUBLISHED = {0.2: "94.1", 0.4: "92.6", 0.6: "89.2", 0.8: "78.6"}
"""Self-adaptive training of ResNet-34 on CIFAR-10, in percent, by the rate of noise: the authors' README."""
STOPPED = {0.2: "85.6", 0.4: "81.8", 0.6: "76.4", 0.8: "61.0"}
"""Cross-entropy stopped early, recalled from the paper."""

FALLS = 0.01
"""What counts as a fall: a hundredth of the test images."""


def counted(right: Bits, among: Bits | None = None) -> Counted:
    """A rate of images, of all or of some."""
    trial = np.ones(len(right), bool) if among is None else among
    return Counted(right & trial, trial)


@dataclass(frozen=True)
class LabelAudit:
    """What an audit flagged among exemplars with planted noise.

    Attributes:
        title: who looked.
        flagged: bool [M].
        wrong: bool [M], whose label is not the true one.

    """

    title: str
    flagged: Bits
    wrong: Bits

    @property
    def precision(self) -> Counted:
        """Wrong labels among the flagged."""
        return counted(self.wrong, self.flagged)

    @property
    def recall(self) -> Counted:
        """Flagged among the wrong labels."""
        return counted(self.flagged, self.wrong)


def audits_of(rate: float, figures: Mapping[str, Figures]) -> list[LabelAudit]:
    """Both audits at a rate of noise, by each encoder, as far as they were made."""
    found, plain, adapted, untouched = [], plain_name(rate), adapted_name(rate), f"untouched-{100 * rate:.0f}"
    for name, title in ((plain, "cross-entropy"), (adapted, "self-adaptive"), (untouched, "true labels")):
        if name in figures and (rate_known := figures.get(plain) or figures.get(adapted)):
            wrong = ~read(rate_known["given"])
            found.append(LabelAudit(f"neighbours, encoder of {title}", read(figures[name]["disagrees"]), wrong))
    if adapted in figures:
        found.append(LabelAudit("adapted targets", read(figures[adapted]["doubted"]), ~read(figures[adapted]["given"])))
    return found


def findings_of(scale: AdaptiveScale, figures: Mapping[str, Figures]) -> list[Finding]:
    """All claims that can be judged by what was measured, the paper's first."""
    found: list[Finding] = []
    for rate in scale.rates:
        if {plain_name(rate), adapted_name(rate)} <= figures.keys():
            found += _of_noise(rate, figures[plain_name(rate)], figures[adapted_name(rate)], scale)
    found += _of_selection(figures)
    found += _of_attacks(figures)
    return found


def untried(scale: AdaptiveScale, figures: Mapping[str, Figures]) -> list[str]:
    """What is not measured yet, in words."""
    parts = {f"noise of {100 * rate:.0f} %": {plain_name(rate), adapted_name(rate)} for rate in scale.rates}
    parts |= {"selective classification": {_scores_of(plain_name(0)), _scores_of(ABSTAINING)}}
    parts |= {"TRADES": {TRADES, TRADES_ADAPTED}}
    return [title for title, names in parts.items() if not names <= figures.keys()]


def _scores_of(name: str) -> str:
    return f"scores-{name}"


def _of_noise(rate: float, plain: Figures, adapted: Figures, scale: AdaptiveScale) -> Iterator[Finding]:
    at, test = f"at {100 * rate:.0f} % noise", f"{len(plain['head']):,} test images"
    published = f"{PUBLISHED[rate]} : {STOPPED[rate]}" if rate in PUBLISHED else "-"
    heads = counted(read(adapted["head"])), counted(read(plain["head"]))
    yield Finding(
        f"(1) {at}, the classifier of self-adaptive training is right more often than that of cross-entropy",
        published,
        f"classifier's accuracy after the last step, {test}",
        difference(*heads),
    )
    k = str(scale.k)
    if k in adapted["knn"]:
        votes = counted(read(adapted["knn"][k])), counted(read(plain["knn"][k]))
        yield Finding(
            f"(1) {at}, so is the vote of {k} neighbours on the given labels", "-", f"kNN, {test}", difference(*votes)
        )
    before, after = counted(read(plain["before"])), counted(read(plain["head"]))
    shown = f"classifier's accuracy at two thirds and at the end, {test}"
    yield Finding(f"(2) {at}, cross-entropy falls in the last third", "figure 1", shown, difference(before, after))
    before, after = counted(read(adapted["before"])), counted(read(adapted["head"]))
    yield Finding(
        f"(2) {at}, self-adaptive training does not fall by a point", "figure 1", shown, difference(after, before), -FALLS
    )
    believed, given = counted(read(adapted["believed"])), counted(read(adapted["given"]))
    yield Finding(
        f"(3) {at}, the targets are right more often than the labels",
        "-",
        f"likeliest class and given label, {len(adapted['given']):,} training images",
        difference(believed, given),
    )
    yield from _of_audits(rate, adapted)


def _of_audits(rate: float, adapted: Figures) -> Iterator[Finding]:
    at = f"at {100 * rate:.0f} % noise"
    doubted, neighbours = audits_of(rate, {adapted_name(rate): adapted})[::-1]
    yield Finding(
        f"{at}, targets find more of the wrong labels than neighbours do (our question)",
        "-",
        "recall of both audits, same encoder",
        difference(doubted.recall, neighbours.recall),
    )
    yield Finding(
        f"{at}, and are right more often where they flag one (our question)",
        "-",
        "precision of both audits, same encoder",
        difference(doubted.precision, neighbours.precision),
    )


def _of_selection(figures: Mapping[str, Figures]) -> Iterator[Finding]:
    plain, abstaining = (figures.get(_scores_of(name)) for name in (plain_name(0), ABSTAINING))
    if not plain or not abstaining:
        return
    ordinary = read_scores(plain, SOFTMAX)
    clean = {name: read_scores(abstaining, name) for name in (SOFTMAX, ABSTAIN, CREDIBILITY)}
    images = f"area under errors over coverage, bootstrap of {len(ordinary[0]):,} test images"
    yield Finding(
        "(4) the abstain logit ranks answers better than softmax response of cross-entropy",
        "better at each coverage",
        images,
        _area_difference(ordinary, clean[ABSTAIN]),
    )
    yield Finding(
        "(4) on the same network, softmax response ranks better than the abstain logit",
        "arXiv 2206.09034",
        images,
        _area_difference(clean[ABSTAIN], clean[SOFTMAX]),
    )
    yield Finding(
        "(4) on the same network, credibility ranks its answers better than softmax response (our question)",
        "-",
        images,
        _area_difference(clean[SOFTMAX], clean[CREDIBILITY]),
    )


def _area_difference(worse: tuple[Bits, np.ndarray], better: tuple[Bits, np.ndarray]) -> Difference:
    return difference_of(
        lambda rows: areas(worse[0][rows], worse[1][rows]),
        lambda rows: areas(better[0][rows], better[1][rows]),
        len(worse[0]),
        draws=500,
    )


def _of_attacks(figures: Mapping[str, Figures]) -> Iterator[Finding]:
    plain, adapted = figures.get(TRADES), figures.get(TRADES_ADAPTED)
    if not plain or not adapted:
        return
    robust = counted(read(adapted["robust"])), counted(read(plain["robust"]))
    yield Finding(
        "(5) a self-adaptive clean term makes TRADES more robust",
        "53.3 : 53.1",
        f"right under every attack, {len(plain['robust']):,} test images",
        difference(*robust),
    )
    clean = counted(read(plain["head"])), counted(read(adapted["head"]))
    yield Finding(
        "(5) and costs clean accuracy", "84.9 : 83.5", f"clean accuracy, {len(plain['head']):,} test images", difference(*clean)
    )


def rate_of(bits: str) -> Rate:
    """Of answers as they are kept."""
    return counted(read(bits)).rate
