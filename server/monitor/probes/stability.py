"""How often an attack would change an answer of the traffic, from the few answers that were probed.

    theta = mean over all answers of h(m_i)  +  mean over the probed ones of flip_i - h(m_i), weighted by 1 / pi_i

m_i is the soft margin, pi_i the probability with which the answer was probed, and h(m) the chance of a flip by earlier probes.
The first term uses all the traffic, the second corrects it: it stays right whatever h is, and wherever margins mislead, since h
rests on probes of before and pi is known. The weights are divided by their sum (Hajek 1971).

The 95 % interval is Wilson's (1927), of as many independent probes as would have the variance that the corrections show. 1 -
theta is an upper bound on the stability under this attack. It is not robust accuracy: other attacks find more, and labels are
not known.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from holdfast.intervals import NORMAL_95
from holdfast.server.monitor.probes.curve import FlipCurve

WINDOW = 1000
"""Probes that an estimate rests on: the operator asks about now, not about last week."""

LEARNED_FROM, LEARN_EVERY = 2000, 25
"""Probes that the curve is fitted to, and those after which it is fitted again."""

MOST_GAIN, SURE_FROM = 2.0, 20
"""Times the number of probes that margins may make them worth, and flips from which on: fewer do not say how much they vary."""


@dataclass(frozen=True)
class Interval:
    """A proportion and its 95 % interval, all in [0, 1]."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Selection:
    """One answer that is to be probed.

    Attributes:
        margin: its soft margin.
        inclusion: pi, the probability with which it was chosen.
        expected: h(margin), by the probes before it.
        answers: answers that could have been probed, up to and including this one.
        total: sum of their h.

    """

    margin: float
    inclusion: float
    expected: float
    answers: int
    total: float


@dataclass(slots=True)
class StabilityEstimate:
    """The estimate of one attack at one radius.

    `answered` comes before the probes of those answers, `probed` after each, and `interval` and `learn` once all are done.

    Attributes:
        window: probes that it rests on at most.
        curve: h, fitted to earlier probes.
        answers: that could have been probed.
        total: sum of their h.
        start: both, where the window begins.
        probes: in the window, with their outcomes.
        learned: margins and flips that the curve is fitted to.
        since: probes since it was fitted.

    """

    window: int = WINDOW
    curve: FlipCurve = field(default_factory=FlipCurve.unknown)
    answers: int = 0
    total: float = 0.0
    start: tuple[int, float] = (0, 0.0)
    probes: deque[tuple[Selection, bool]] = field(default_factory=deque)
    learned: deque[tuple[float, bool]] = field(default_factory=lambda: deque(maxlen=LEARNED_FROM))
    since: int = 0

    def answered(
        self, margins: NDArray[np.float64], chosen: NDArray[np.intp], inclusion: NDArray[np.float64]
    ) -> list[Selection]:
        """Count answers that could have been probed.

        Args:
            margins: float64 [N], finite.
            chosen: the numbers of those that will be probed, ascending.
            inclusion: float64 [len(chosen)], theirs.

        """
        expected = self.curve(margins)
        sums = self.total + np.cumsum(expected)
        chosen_ones = [
            Selection(float(margins[row]), float(pi), float(expected[row]), self.answers + int(row) + 1, float(sums[row]))
            for row, pi in zip(chosen, inclusion, strict=True)
        ]
        self.answers += len(margins)
        self.total = float(sums[-1]) if len(margins) else self.total
        return chosen_ones

    def probed(self, selection: Selection, *, flipped: bool) -> None:
        """One of them was."""
        self.probes.append((selection, flipped))
        if len(self.probes) > self.window:
            oldest, _ = self.probes.popleft()
            self.start = oldest.answers, oldest.total
        self.learned.append((selection.margin, flipped))
        self.since += 1

    def learn(self) -> None:
        """Fit the curve for answers to come, where there are enough new probes; once all that were chosen are done."""
        if self.since < LEARN_EVERY:
            return
        if self.since == len(self.learned):  # what was believed before the first curve is far from it: begin anew
            self.probes.clear()
            self.start = self.answers, self.total
        self.since = 0
        self.curve = FlipCurve.fitted(*zip(*self.learned, strict=True))

    def interval(self) -> Interval | None:
        """The estimate, once all that were chosen are done; None where none was."""
        if not self.probes:
            return None
        answers, total = self.answers - self.start[0], self.total - self.start[1]
        flips = np.array([flipped for _, flipped in self.probes], dtype=np.float64)
        residuals = flips - [each.expected for each, _ in self.probes]
        weights = 1 / np.array([each.inclusion for each, _ in self.probes])
        rarer = int(min(flips.sum(), len(flips) - flips.sum()))
        return corrected(total / answers, residuals, weights, rarer)


def corrected(mean: float, residuals: NDArray[np.float64], weights: NDArray[np.float64], rarer: int) -> Interval:
    """The mean of h over all answers, corrected by what the probed ones show.

    Args:
        mean: in [0, 1].
        residuals: float64 [n], flip - h of the probed ones.
        weights: float64 [n], 1 / pi.
        rarer: how many of them flipped or held, whichever is less.

    """
    shares = weights / weights.sum()
    correction = float(shares @ residuals)
    estimate = min(max(mean + correction, 0.0), 1.0)
    independent = 1 / float((shares**2).sum())
    variance = float((shares**2 * (residuals - correction) ** 2).sum()) * len(shares) / max(len(shares) - 1, 1)
    spread = estimate * (1 - estimate)
    worth = spread / variance if variance > 0 and spread > 0 else independent
    gain = 1 + (MOST_GAIN - 1) * min(1, rarer / SURE_FROM)
    low, high = _wilson(estimate, min(worth, gain * independent))
    return Interval(estimate, low, high)


def _wilson(rate: float, trials: float) -> tuple[float, float]:
    """Wilson's interval around a rate of so many independent trials, which need not be a whole number."""
    shrink = NORMAL_95**2 / trials
    centre = (rate + shrink / 2) / (1 + shrink)
    reach = NORMAL_95 * np.sqrt(rate * (1 - rate) / trials + shrink / (4 * trials)) / (1 + shrink)
    return max(0.0, min(rate, float(centre - reach))), min(1.0, max(rate, float(centre + reach)))
