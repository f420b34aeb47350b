"""Whether the 95 % interval of the flip rate holds the truth, over simulated streams of answers.

    python -m bench.observing.streams [--streams 500] [--answers 20000] [--rate .01] [--json FILE]

A stream has answers with soft margins, and for each whether an attack would change it. What is held against the interval is the
share of the answers in its window that would change. With attackers, a part of the answers is theirs: images with large margins
that change all the same, or at the border, or beyond it; margins are then as misleading as an attacker can make them who knows
which are probed more.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.harness.report import Target, run_benchmark, show, write_json
from holdfast.console import track
from holdfast.flags import positive, whole_number
from holdfast.intervals import Rate
from holdfast.server.monitor.probes.sampling import MarginSampler, finite
from holdfast.server.monitor.probes.stability import StabilityEstimate

BOUND = 0.93
MOST_BATCH = 64

Floats = NDArray[np.float64]


def _logistic(values: Floats) -> Floats:
    chances: Floats = 1 / (1 + np.exp(-values))
    return chances


STREAMS: dict[str, Callable[[Floats], Floats]] = {
    "margins tell": lambda margins: _logistic(3 * (1 - margins)),
    "margins tell a little": lambda margins: _logistic(0.3 * (2 - margins)),
    "margins tell nothing": lambda margins: np.full(len(margins), 0.1),
    "margins mislead": lambda margins: _logistic(margins - 6),
    "flips are rare": lambda margins: np.where(margins < 0, 0.1, 0.002),
}
"""P(flip | margin) of each kind."""


def stream(rng: np.random.Generator, kind: str, answers: int, attackers: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Margins and flips of so many answers, of which a part is an attacker's."""
    margins = rng.gamma(2.0, 2.0, answers) - 1
    flips = rng.random(answers) < STREAMS[kind](margins)
    theirs = rng.random(answers) < attackers
    place, spread, chance = ((8.0, 1.0, 0.95), (0.0, 0.3, 0.95), (-2.0, 0.5, 0.5))[int(rng.integers(3))]
    margins[theirs] = rng.normal(place, spread, theirs.sum())
    flips[theirs] = rng.random(theirs.sum()) < chance
    return margins, flips


def covered(rng: np.random.Generator, kind: str, answers: int, rate: float, attackers: float) -> bool:
    """Whether the interval at the end of one stream holds the truth of its window."""
    margins, flips = stream(rng, kind, answers, attackers)
    sampler, estimate, start = MarginSampler(rate), StabilityEstimate(), 0
    while start < answers:
        rows = slice(start, start + int(rng.integers(1, MOST_BATCH + 1)))
        seen, start = finite(margins[rows]), rows.stop
        inclusion = sampler.probabilities(seen)
        chosen = np.flatnonzero(rng.random(len(seen)) < inclusion)
        for selection, row in zip(estimate.answered(seen, chosen, inclusion[chosen]), chosen, strict=True):
            estimate.probed(selection, flipped=bool(flips[rows][row]))
        sampler.learn(seen)
        estimate.learn()
    interval = estimate.interval()
    if interval is None:
        return False
    truth = float(flips[estimate.start[0] : estimate.answers].mean())
    return interval.low <= truth <= interval.high


def main() -> int:
    """Runs the benchmark. Returns 0 where the target is met, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.observing.streams", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=whole_number(1), default=500, help="of each row (default: %(default)s)")
    parser.add_argument("--answers", type=whole_number(1), default=20_000, help="of a stream (default: %(default)s)")
    parser.add_argument("--rate", type=positive, default=0.01, help="share that is probed (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    kinds, rows, values = list(STREAMS), [], dict[str, float]()
    for attackers in (0.0, 0.05):
        held = {kind: [0, 0] for kind in kinds}
        for seed in track(range(options.streams), description=f"streams, {attackers:.0%} of them attackers'"):
            kind = kinds[seed % len(kinds)]
            rng = np.random.default_rng([seed, int(attackers > 0)])
            held[kind][0] += covered(rng, kind, options.answers, options.rate, attackers)
            held[kind][1] += 1
        for kind, (inside, of) in held.items():
            rows.append([f"{attackers:.0%}", kind, str(Rate(inside, of))])
        values[f"attackers {attackers:.0%}"] = sum(inside for inside, _ in held.values()) / options.streams
        rows.append([f"{attackers:.0%}", "all", f"{values[f'attackers {attackers:.0%}']:.1%}"])
    target = Target("coverage of the 95 % interval", min(values.values()), BOUND, at_least=True)
    show(
        f"{options.streams} streams of {options.answers:,} answers, {options.rate:.1%} of them probed",
        ["attackers", "streams", "intervals that hold the truth"],
        rows,
        target,
    )
    if options.json:
        write_json(options.json, "observing.streams", values, target=target)
    return 0 if target.met else 1


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
