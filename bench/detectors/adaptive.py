"""OARS's loop against detectors that refuse nothing: what an attacker can learn of them, and whether it helps.

    python -m bench.detectors.adaptive --data-dir DIR [--feedback none latency alarms] [--grain 1 4] [--json FILE]

OARS (Feng et al. 2023, CCS) walks along the edge of a class as HopSkipJump does, with small steps first. Each refusal of a
stateful defence says that steps were too alike: it widens them and goes on by another account, until none is refused. Here
nothing is refused, so the loop is run with what an attacker may take for a refusal instead:

- none: alarms are silent, as by default;
- latency: the operator lets alarms throttle their caller. The server is kept busy by others, and the attacker compares the
  latency of its calls with those of an account of its own that asks ordinary images;
- alarms: as if every alarm were told to the attacker, which no setting does: what refusals would have given it.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Self

import numpy as np

from bench.detectors.attackers import Scores, SpentError, walk_along_the_edge
from bench.detectors.running import Relays, alarms_of, await_detectors
from bench.harness.environment import restart_with_one_thread
from bench.harness.report import run_benchmark, show, write_json
from bench.harness.server_process import Server, running_server
from holdfast.auditing import RemoteClassifier
from holdfast.bundle.reader import Bundle
from holdfast.client import Client
from holdfast.data import load
from holdfast.flags import whole_number
from holdfast.model.preprocess import Pixels

Feedback = Literal["none", "latency", "alarms"]

FIRST_SIZE, WIDER = 1.0, 1.5
"""Grey levels, root of the mean square, of the first steps; and what they are multiplied by after a refusal."""

AT_ONCE = 10
"""Questions after which the attacker looks for a refusal, and the benchmark for an alarm."""

SLOWER = 2.0
"""Times the latency of its other account that the attacker takes for a refusal, where it lasts for two looks."""

BUSY_CALLERS = 96
THROTTLE = ("--alarm-throttle", "0.1")


@dataclass
class AdaptiveRun:
    """One attack on one image.

    Attributes:
        feedback, grain: of the attack.
        asked: questions, over all accounts; those of the account that asks ordinary images left out.
        accounts: that it used.
        first: questions before the first alarm; None where none came.
        alarms: that began, in all.
        last_alarm: questions before the last one.
        size: of the last steps.
        begun, reached: root of the mean square distance of the adversarial image from the attacked one, at first and at last.

    """

    feedback: Feedback
    grain: int
    asked: int = 0
    accounts: int = 1
    first: int | None = None
    alarms: int = 0
    last_alarm: int | None = None
    size: float = FIRST_SIZE
    begun: float = float("nan")
    reached: float = float("nan")


@dataclass
class Account:
    """A caller of the attacker's, and the one beside it that asks ordinary images; latencies in seconds."""

    caller: RemoteClassifier
    beside: RemoteClassifier | None
    own: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)
    slow: int = 0

    def ask(self, image: Pixels, ordinary: Pixels) -> Scores:
        """One question, and one of the other's where there is one."""
        began = time.perf_counter()
        scores = self.caller.scores(image[None])
        self.own.append(time.perf_counter() - began)
        if self.beside is not None:
            began = time.perf_counter()
            self.beside.scores(ordinary[None])
            self.other.append(time.perf_counter() - began)
        return scores

    def seems_refused(self) -> bool:
        """Whether its latest calls took much longer than the other's, twice in a row."""
        if self.beside is None or len(self.own) < AT_ONCE:
            return False
        ratio = statistics.median(self.own[-AT_ONCE:]) / statistics.median(self.other[-AT_ONCE:])
        self.slow = self.slow + 1 if ratio > SLOWER else 0
        return self.slow >= 2


class AdaptiveAttacker:
    """Walks along the edge of a class, and widens its steps when it takes something for a refusal.

    Args:
        server: that is asked.
        relays: make accounts.
        run: is filled in.
        ordinary: images of others, uint8 [n, H, W, 3].
        most: questions.

    """

    def __init__(self, server: Server, relays: Relays, run: AdaptiveRun, ordinary: Pixels, most: int) -> None:
        self._server, self._relays, self.run, self._ordinary, self._most = server, relays, run, ordinary, most
        self._stack = ExitStack()
        self._seen = self._count_alarms()
        self._account = self._new_account()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def walk(self, image: Pixels, label: int, rng: np.random.Generator) -> None:
        """Until it may ask no more."""
        with suppress(SpentError):
            for reached in walk_along_the_edge(self.ask, image, label, rng, grain=self.run.grain, size=lambda: self.run.size):
                self.run.begun = reached if np.isnan(self.run.begun) else self.run.begun
                self.run.reached = reached

    def ask(self, images: Pixels) -> Scores:
        """Shares of the vote for each image. Raises SpentError once enough were asked."""
        parts = []
        for image in images:
            if self.run.asked >= self._most:
                raise SpentError
            parts.append(self._account.ask(image, self._ordinary[self.run.asked % len(self._ordinary)]))
            self.run.asked += 1
            if self.run.asked % AT_ONCE == 0:
                self._look()
        return np.concatenate(parts)

    def _look(self) -> None:
        await_detectors(self._server)
        now = self._count_alarms()
        if raised := now - self._seen:
            self._seen, self.run.last_alarm = now, self.run.asked
            self.run.alarms += raised
            self.run.first = self.run.first or self.run.asked
        refused = self._account.seems_refused() if self.run.feedback == "latency" else raised > 0
        if refused and self.run.feedback != "none":
            self.run.size *= WIDER
            self.run.accounts += 1
            self._account = self._new_account()

    def _count_alarms(self) -> int:
        return int(sum(alarms_of(self._server, all_together=True).values()))

    def _new_account(self) -> Account:
        beside = self._caller() if self.run.feedback == "latency" else None
        return Account(self._caller(), beside)

    def _caller(self) -> RemoteClassifier:
        return RemoteClassifier(self._stack.enter_context(Client(self._relays.another(), timeout=60)))


@contextmanager
def busy(server: Server, images: Pixels) -> Iterator[None]:
    """Others who ask more than the server answers at a time."""
    with tempfile.TemporaryDirectory() as folder:
        pixels = Path(folder) / "pixels.npy"
        np.save(pixels, images)
        flags = ("--callers", str(BUSY_CALLERS), "--seconds", "100000", "--pixels", str(pixels))
        others = subprocess.Popen([sys.executable, "-m", "bench.load", "--address", server.address, *flags])
        try:
            yield
        finally:
            others.kill()
            others.wait()


def attack(
    bundle: Path, feedback: Feedback, grain: int, target: tuple[Pixels, int], images: Pixels, *, most: int, seed: int
) -> AdaptiveRun:
    """One attack at a server of its own."""
    run = AdaptiveRun(feedback, grain)
    flags = ("--alarm-repeat", "0.001", *(THROTTLE if feedback == "latency" else ()))
    with ExitStack() as stack:
        server = stack.enter_context(running_server(bundle, *flags))
        relays = stack.enter_context(Relays(server))
        if feedback == "latency":
            stack.enter_context(busy(server, images))
        attacker = stack.enter_context(AdaptiveAttacker(server, relays, run, images, most))
        attacker.walk(*target, np.random.default_rng(seed))
    return run


def row_of(run: AdaptiveRun) -> list[str]:
    """For the table."""
    return [
        run.feedback,
        str(run.grain),
        str(run.asked),
        str(run.first or "-"),
        str(run.alarms),
        str(run.last_alarm or "-"),
        str(run.accounts),
        f"{run.size:.1f}",
        f"{run.begun:.1f} to {run.reached:.1f}",
    ]


def main() -> int:
    """Runs the benchmark. Returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.detectors.adaptive", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=Path("bundles/cifar10-small"), help="served (default: %(default)s)")
    parser.add_argument("--data-dir", type=Path, required=True, help="where CIFAR-10 lies")
    known = ("none", "latency", "alarms")
    parser.add_argument("--feedback", nargs="+", choices=known, default=known, help="that it has (default: each)")
    parser.add_argument("--grain", type=whole_number(1), nargs="+", default=[1, 4], help="pixels of a direction's cells")
    parser.add_argument("--images", type=whole_number(1), default=2, help="that are attacked (default: %(default)s)")
    parser.add_argument("--first", type=whole_number(0), default=0, help="how many images to leave out (default: %(default)s)")
    parser.add_argument("--questions", type=whole_number(1), default=1000, help="of an attack (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    restart_with_one_thread("bench.detectors.adaptive")
    test = load("cifar10", directory=options.data_dir).test
    answers = Bundle.open(options.bundle).classifier().classify(test.images[:2000])
    right = np.flatnonzero(answers.labels == test.labels[:2000])[options.first : options.first + options.images]
    runs = []
    for feedback in options.feedback:
        for grain in options.grain:
            for row in right.tolist():
                target = test.images[row], int(answers.labels[row])
                limits = {"most": options.questions, "seed": row}
                runs.append(attack(options.bundle, feedback, grain, target, test.images[4000:], **limits))
                print(row_of(runs[-1]), file=sys.stderr)
    columns = ["feedback", "grain", "asked", "first alarm", "alarms", "last alarm", "accounts", "step", "distance"]
    show("attacks that adapt", columns, [row_of(run) for run in runs])
    if options.json:
        write_json(options.json, "detectors.adaptive", {"runs": [asdict(run) for run in runs]})
    return 0


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
