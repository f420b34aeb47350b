"""Attackers who have read the rules, and hide where a still scene hides: found when, and at what cost to themselves.

    python -m bench.detectors.hiding --data-dir DIR [--images 10] [--questions 1000] [--json FILE]

What goes by before a scene that stands still is no search to the detectors, and neither is what a shaking camera sees. So a
square attack may move its squares on as such a thing goes. A walk along the edge of a class may leave most of the image as it
is, or shift each image that it asks. Each is run beside the same attack that hides nothing, on the same images, and asks the
bundle directly; its questions are shown to detectors without a server, as one caller's, one by one. An attack by scores ends
when the answer is wrong. A walk by labels goes on, and has the distance from the image that it came to.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.detectors.attackers import Ask, Scores, SpentError, walk_along_the_edge
from bench.detectors.replay import Replay, answered
from bench.harness.environment import restart_with_one_thread
from bench.harness.report import run_benchmark, show, write_json
from holdfast.bundle.reader import Bundle
from holdfast.data import load
from holdfast.flags import whole_number
from holdfast.model.preprocess import Pixels
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.settings import Settings

EPSILON = 8
"""Grey levels of the ball that squares stay in."""

SIGNS = np.array([-EPSILON, EPSILON], np.float32)

STRIDE = 2
"""Pixels by which a square moves on from one question to the next."""

PART = 20
"""Pixels along a side of the part that a walk stays in: 39 % of an image of 32 x 32."""

STEP, WIDE_STEP = 1.0, 16.0
"""Grey levels of a walk's steps: as OARS begins, and wider than a camera's noise."""

SHIFT = 2
"""Pixels by which an image is shifted at most, up or down and to either side."""

Squares = Callable[[int, np.random.Generator], Iterator[tuple[int, int, int, NDArray[np.float32]]]]
"""Takes the side of an image; yields top, left, side and colour of one square after another."""


def squares_anywhere(side: int, rng: np.random.Generator) -> Iterator[tuple[int, int, int, NDArray[np.float32]]]:
    """As of the Square attack (Andriushchenko et al. 2020, arXiv 1912.00049): each at another place, of another colour."""
    for number in range(10**9):
        size = _size(number, side)
        top, left = rng.integers(0, side - size + 1, 2).tolist()
        yield top, left, size, _colour(rng)


def squares_that_go_by(side: int, rng: np.random.Generator) -> Iterator[tuple[int, int, int, NDArray[np.float32]]]:
    """Each is the one before, moved on: a thing of one colour that goes by from left to right, and then another one."""
    number = 0
    while True:
        size = _size(number, side)
        top, colour = int(rng.integers(0, side - size + 1)), _colour(rng)
        for left in range(0, side - size + 1, STRIDE):
            number += 1
            yield top, left, size, colour


def _size(number: int, side: int) -> int:
    """The share of the image that a square covers falls from .4 by half, and by half again."""
    halvings = int(np.searchsorted((20, 80, 200, 500, 1000), number, side="right"))
    return max(2, round(side * sqrt(0.4 / 2**halvings)))


def _colour(rng: np.random.Generator) -> NDArray[np.float32]:
    colour: NDArray[np.float32] = rng.choice(SIGNS, 3)
    return colour


def by_squares(ask: Ask, image: Pixels, label: int, rng: np.random.Generator, squares: Squares) -> bool:
    """A search by scores within EPSILON of an image uint8 [H, W, 3]. Returns True once the answer is another one."""
    clean = image.astype(np.float32)
    best = np.clip(clean + rng.choice(SIGNS, (1, *image.shape[1:])), 0, 255)  # stripes
    least = _lead(ask(_as_image(best)), label)
    for top, left, size, colour in squares(image.shape[0], rng):
        if least <= 0:
            return True
        tried, part = best.copy(), (slice(top, top + size), slice(left, left + size))
        tried[part] = np.clip(clean[part] + colour, 0, 255)
        lead = _lead(ask(_as_image(tried)), label)
        if lead <= least:
            best, least = tried, lead
    return False


def _lead(scores: Scores, label: int) -> float:
    others = np.delete(scores[0], label)
    return float(scores[0, label] - others.max())


def _as_image(pixels: NDArray[np.float32]) -> Pixels:
    image: Pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)[None]
    return image


@dataclass
class HidingRun:
    """One attack on one image.

    Attributes:
        attack: its name.
        asked: how many questions.
        found: how many had been asked at the first alarm; None where none came.
        detectors: those that had one then.
        succeeded: after how many questions the answer was wrong, of an attack by scores; None where it never was.
        distance: that a walk came to, grey levels, root of the mean square; None of an attack by scores.

    """

    attack: str
    asked: int = 0
    found: int | None = None
    detectors: tuple[str, ...] = ()
    succeeded: int | None = None
    distance: float | None = None


class WatchedAttack:
    """Asks a bundle, and shows each question to fresh detectors."""

    def __init__(self, snapshot: ModelSnapshot, settings: Settings, run: HidingRun, most: int) -> None:
        self._snapshot, self.run, self._most = snapshot, run, most
        self._replay = Replay(snapshot, settings)

    def __call__(self, images: Pixels) -> Scores:
        """Their scores; an attack goes on after an alarm, as it does not hear of it."""
        parts = []
        for image in images:
            if self.run.asked >= self._most:
                raise SpentError
            answers = answered(self._snapshot, image[None])
            self._replay.show(image[None], answers, ["caller"])
            self.run.asked += 1
            alarmed = {detector for detector, _ in self._replay.actions.who}
            if alarmed and self.run.found is None:
                self.run.found, self.run.detectors = self.run.asked, tuple(sorted(alarmed))
            parts.append(answers.probabilities)
        return np.concatenate(parts).astype(np.float32)


Hider = Callable[[WatchedAttack, Pixels, int, np.random.Generator], None]


def _squares(squares: Squares) -> Hider:
    def run(ask: WatchedAttack, image: Pixels, label: int, rng: np.random.Generator) -> None:
        if by_squares(ask, image, label, rng, squares):
            ask.run.succeeded = ask.run.asked

    return run


def _walk(size: float, part: int | None = None, shift: int = 0) -> Hider:
    def run(watched: WatchedAttack, image: Pixels, label: int, rng: np.random.Generator) -> None:
        def ask(images: Pixels) -> Scores:
            return watched(shaken(images, shift, rng))

        for distance in walk_along_the_edge(ask, image, label, rng, grain=1, size=lambda: size, part=part):
            watched.run.distance = distance

    return run


def shaken(images: Pixels, most: int, rng: np.random.Generator) -> Pixels:
    """Each image uint8 [n, H, W, C] shifted by up to `most` pixels; what comes in at an edge is the edge again."""
    if not most:
        return images
    height, width = images.shape[1:3]
    wide = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
    places = rng.integers(0, 2 * most + 1, (len(images), 2)).tolist()
    return np.stack([one[top : top + height, left : left + width] for one, (top, left) in zip(wide, places, strict=True)])


HIDERS: dict[str, Hider] = {
    "squares anywhere": _squares(squares_anywhere),
    "squares that go by": _squares(squares_that_go_by),
    "a walk": _walk(STEP),
    "a walk in 39 % of the image": _walk(STEP, part=PART),
    "a walk that shakes": _walk(STEP, shift=SHIFT),
    "a wide walk": _walk(WIDE_STEP),
    "a wide walk that shakes": _walk(WIDE_STEP, shift=SHIFT),
}


def rows_of_table(runs: list[HidingRun]) -> list[list[str]]:
    """One row for each attack."""
    rows = []
    for name in dict.fromkeys(run.attack for run in runs):
        own = [run for run in runs if run.attack == name]
        found, done = ([value for value in values if value is not None] for values in _counts(own))
        far = [run.distance for run in own if run.distance is not None]
        rows.append(
            [
                name,
                f"{len(found)} of {len(own)}",
                _middle_and_most(found),
                f"{len(done)} of {len(own)}" if not far else "-",
                _middle_and_most(done),
                f"{np.median(far):.1f}" if far else "-",
                ", ".join(sorted({detector for run in own for detector in run.detectors})),
            ]
        )
    return rows


def _counts(runs: list[HidingRun]) -> tuple[list[int | None], list[int | None]]:
    return [run.found for run in runs], [run.succeeded for run in runs]


def _middle_and_most(counts: list[int]) -> str:
    return f"{np.median(counts):.0f}, {max(counts)}" if counts else "-"


COLUMNS = ["attack", "found", "questions: median, most", "wrong answer", "after", "distance", "first alarms of"]


def main() -> int:
    """Runs the benchmark. Returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.detectors.hiding", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=Path("bundles/cifar10-small"), help="attacked (default: %(default)s)")
    parser.add_argument("--data-dir", type=Path, required=True, help="where CIFAR-10 lies")
    parser.add_argument("--images", type=whole_number(1), default=10, help="that each attacks (default: %(default)s)")
    parser.add_argument(
        "--first", type=whole_number(0), default=200, help="right answers left out first (default: %(default)s)"
    )
    parser.add_argument("--questions", type=whole_number(1), default=1000, help="of an attack at most (default: %(default)s)")
    parser.add_argument("--attack", nargs="+", choices=HIDERS, default=list(HIDERS), help="by name (default: all)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    restart_with_one_thread("bench.detectors.hiding")
    test = load("cifar10", directory=options.data_dir).test
    snapshot, settings = ModelSnapshot.of(Bundle.open(options.bundle), 1, "bench"), Settings(bundle=options.bundle)
    labels = snapshot.classifier.classify(test.images[:2000]).labels
    right = np.flatnonzero(labels == test.labels[:2000])[options.first : options.first + options.images]
    runs: list[HidingRun] = []
    for name in options.attack:
        for row in right.tolist():
            ask = WatchedAttack(snapshot, settings, HidingRun(name), options.questions)
            with suppress(SpentError):
                HIDERS[name](ask, test.images[row], int(labels[row]), np.random.default_rng(row))
            runs.append(ask.run)
        print(rows_of_table(runs)[-1], file=sys.stderr)
    show("attackers who hide", COLUMNS, rows_of_table(runs))
    if options.json:
        write_json(options.json, "detectors.hiding", {"runs": [asdict(run) for run in runs]})
    return 0


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
