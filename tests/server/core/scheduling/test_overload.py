"""A server that is asked for more than it can answer, simulated: queue, admission and planner as they are, on another clock.

The engine takes 7 ms for a batch and 1.3 ms for each image in it, give or take what a busy machine makes of that. So a batch of
64 takes 90 ms, and 711 images a second are all there is.
"""

import random
from dataclasses import dataclass, field
from heapq import heappop, heappush
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from holdfast.server.core.errors import DeadlineError, QueueFullError
from holdfast.server.core.request import LABELS
from holdfast.server.core.scheduling import admission as admission_module
from holdfast.server.core.scheduling.admission import Admission, AdmissionLimits, Demand, Permit
from holdfast.server.core.scheduling.planning import BatchPlanner
from holdfast.server.core.scheduling.queue import Call, RequestQueue
from holdfast.server.metrics.metrics import Metrics

BATCH, PER_BATCH, PER_IMAGE, REPLY = 64, 0.007, 0.0013, 0.003
CAPACITY = BATCH / (PER_BATCH + PER_IMAGE * BATCH)
MODEL: Any = SimpleNamespace()


class Answered:
    """As much of a future as the queue looks at."""

    def done(self) -> bool:
        return False


@dataclass
class Outcome:
    good: int = 0
    late: int = 0
    refused: int = 0
    embedded: int = 0
    waits: list[float] = field(default_factory=list)


@dataclass
class Simulation:
    """One engine and its callers. `noise`: by what factor a batch may take longer or shorter."""

    noise: float = 0.15
    share: float = 1.0
    seed: int = 0
    now: float = 100.0
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.queue, self.planner = RequestQueue(), BatchPlanner(BATCH, 0.02)
        self.admission = Admission(AdmissionLimits(1024, self.share), Metrics(), lambda: self.planner.backlog(self.queue))
        self.random = random.Random(self.seed)
        self.permits: dict[int, Permit] = {}
        self.begun = 0.0
        self.events: list[tuple[float, int, Any]] = []
        self.batch: list[Any] | None = None

    def ask(self, caller: str, images: int, patience: float) -> bool:
        """One call; whether it was admitted."""
        outcome = self.outcomes.setdefault(caller, Outcome())
        try:
            permit = self.admission.take(Demand(images, self.now + patience, caller))
        except (QueueFullError, DeadlineError):
            outcome.refused += images
            return False
        permit.decoded()
        future: Any = Answered()
        call = Call(future, np.empty((images, 1)), self.now + patience, LABELS, caller, self.now, images)
        self.permits[id(call)] = permit
        self.queue.append(call)
        self.planner.arrived(patience)
        if self.batch is None:
            self.begin()
        return True

    def begin(self) -> None:
        """The engine takes the next batch, where there is one."""
        self.batch = None
        while self.queue.images and self.batch is None:
            cut = self.queue.cut(self.planner.room(self.now, self.queue), MODEL)
            for call in cut.late:
                self.outcomes[call.caller].late += len(call.images)
                self.permits.pop(id(call)).release()
            if cut.images:
                self.planner.begun(self.now, cut.images)
                self.batch, self.begun = list(cut.pieces), self.now
                took = PER_BATCH + PER_IMAGE * cut.images
                took *= self.random.uniform(1 - self.noise, 1 + self.noise) * (3.0 if self.random.random() < 0.003 else 1.0)
                heappush(self.events, (self.now + took, 0, None))

    def end(self) -> None:
        """The batch is ready; callers have it a little later."""
        images = sum(piece.count for piece in self.batch or ())
        self.planner.ended(images, self.now - self.begun)
        for piece in self.batch or ():
            call, outcome = piece.call, self.outcomes[piece.call.caller]
            outcome.embedded += piece.count
            call.missing -= piece.count
            if not call.missing:
                permit = self.permits.pop(id(call))
                permit.answered()
                permit.release()
                outcome.waits.append(self.now - call.enqueued)
                if self.now + REPLY <= call.deadline:
                    outcome.good += len(call.images)
                else:
                    outcome.late += len(call.images)
        self.begin()

    def run(self, seconds: float, rate: float, images: int, patience: float) -> Outcome:
        """Calls at random moments of a fixed rate, in images a second; what became of those after the first half second."""
        begin, number = self.now, 0
        at = self.now
        while at < begin + seconds:
            at += self.random.expovariate(rate / images)
            number += 1
            heappush(self.events, (at, number, ("caller", images, patience)))
        measured = Outcome()
        while self.events:
            at, _, event = heappop(self.events)
            if self.now <= begin + 0.5 < at:
                measured = self.outcomes.setdefault("caller", Outcome())
                measured.good = measured.late = measured.refused = measured.embedded = 0
            if at > begin + seconds:
                break
            self.now = at
            self.ask(*event) if event else self.end()
        return measured


@pytest.fixture(autouse=True)
def simulated(monkeypatch: pytest.MonkeyPatch) -> list[Simulation]:
    """Admission looks at the clock of the simulation that was made last."""
    made: list[Simulation] = []
    begin = Simulation.__post_init__

    def remember(simulation: Simulation) -> None:
        made.append(simulation)
        begin(simulation)

    monkeypatch.setattr(Simulation, "__post_init__", remember)
    monkeypatch.setattr(admission_module, "time", SimpleNamespace(monotonic=lambda: made[-1].now))
    return made


@pytest.mark.parametrize("images", [1, 8])
@pytest.mark.parametrize("percent", [110, 150, 200, 400])
@pytest.mark.parametrize("patience", [0.25, 0.5, 1.0, 2.0])
def test_what_is_answered_in_time_stays_near_the_capacity(patience: float, percent: int, images: int) -> None:
    simulation, seconds = Simulation(seed=percent), 6.0
    outcome = simulation.run(seconds, CAPACITY * percent / 100, images, patience)
    offered = outcome.good + outcome.late + outcome.refused
    assert outcome.good >= 0.85 * min(CAPACITY * (seconds - 0.5), offered)
    # Little is embedded for nobody: what is late was mostly refused, or dropped before.
    assert outcome.embedded - outcome.good <= 0.06 * outcome.embedded + 2 * BATCH


def test_nothing_is_refused_below_the_capacity() -> None:
    outcome = Simulation().run(8.0, 0.7 * CAPACITY, 4, 1.0)
    assert outcome.refused == outcome.late == 0


def test_an_engine_that_becomes_slow_is_noticed_and_forgotten() -> None:
    simulation = Simulation(noise=0.0)
    simulation.run(3.0, 2 * CAPACITY, 4, 0.5)
    simulation.planner.ended(BATCH, 10.0)
    outcome = simulation.run(6.0, 2 * CAPACITY, 4, 0.5)
    assert outcome.good / 5.5 >= 0.85 * CAPACITY
