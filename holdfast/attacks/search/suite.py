"""A ladder of attacks: per-sample worst case, each step on the survivors of those before it; it can be interrupted."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor

from holdfast.attacks.attack import Step
from holdfast.attacks.search.journal import Journal, Tried
from holdfast.attacks.search.threads import Map, side_by_side
from holdfast.attacks.victim import Outcome, Victim, WorstCase, batches
from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.preprocess import Pixels

Watch = Callable[[int, int, int], None]
"""Called after each batch: (number of the step, images it has just tried, images it still has to try)."""

PAUSE = 2.0
"""Seconds between two writings of a journal. It holds every attacked image, 34 MB for 10,000 of CIFAR-10, and a GPU may have
done the next batch before these are on a disk."""


@dataclass(frozen=True)
class AttackSuite:
    """Steps that are climbed in this order; one that stands there several times is restarted as often.

    Attributes:
        steps: the attacks.
        batch_size: images attacked at once.

    """

    steps: tuple[Step, ...]
    batch_size: int = 128

    def __str__(self) -> str:
        names = list(map(str, self.steps))
        return ", ".join(f"{name} x {names.count(name)}" for name in dict.fromkeys(names))

    def __call__(
        self,
        victim: Victim,
        images: Pixels,
        labels: NDArray[np.int64],
        threat: ThreatModel,
        *,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Outcome:
        """Attack uint8 [N, H, W, 3] images whose true classes are int64 [N] labels; see `climb`."""
        worst_case = WorstCase(victim, images, labels, threat)
        self.climb(worst_case, seed=seed, progress=progress)
        return worst_case.outcome()

    def climb(
        self,
        worst_case: WorstCase,
        *,
        seed: int = 0,
        progress: Progress | None = None,
        store: Path | None = None,
        watch: Watch | None = None,
    ) -> tuple[Tried, ...]:
        """Let every step try what still stands in `worst_case`, which keeps what they find.

        Args:
            worst_case: what is attacked, on which images, within which ball; what it has found already is kept.
            seed: of all random numbers: the same seed, the same outcome (on the same kind of device), interrupted or not.
            progress: where to show a bar; none without.
            store: a file .npz; what an earlier, interrupted call left there is not done again. It is written after a batch, at
                most every `PAUSE` seconds, and by whatever ends the call: only what kills the process costs a batch or two.
            watch: told of every batch, once it is judged; what it raises ends the call.

        Returns:
            What each step came to, in order.

        Raises:
            HoldfastError: `store` is of another ladder or worst_case.

        """
        journal = Journal.open(store, self._fingerprint(worst_case, seed), worst_case)
        bar = progress or Progress(disable=True)
        task = bar.add_task(f"attack {worst_case.threat}", total=len(self.steps))

        def tell(number: int, done: float) -> None:
            told = f"attack {worst_case.threat}: {self.steps[number]}, {worst_case.told}"
            bar.update(task, completed=number + done, description=told)

        with side_by_side(worst_case.victim.threads) as each:
            try:
                while (number := len(journal.tried)) < len(self.steps):
                    tell(number, 0.0)
                    for images, waiting in self._try(number, worst_case, seed, journal, each):
                        tell(number, 1 - waiting / (waiting + journal.position))
                        if watch is not None:
                            watch(number, images, waiting)
            finally:
                # A batch in the middle of which it ended does not count yet: it is tried and judged again.
                journal.save(worst_case)
        bar.update(task, completed=len(self.steps), description=f"attack {worst_case.threat}: {worst_case.told}")
        return tuple(journal.tried)

    def _try(self, number: int, worst_case: WorstCase, seed: int, journal: Journal, each: Map) -> Iterator[tuple[int, int]]:
        """Let one step try what it still has to; yields (images tried, images left) after each batch, once it is judged."""
        step = self.steps[number]
        parts = list(batches(journal.begin(worst_case.rows), self.batch_size))
        left = sum(map(len, parts))
        began = time.monotonic()
        for rows, candidates in zip(parts, each(_candidates(step, worst_case, seed, number), parts), strict=True):
            worst_case.judge(rows, str(step), candidates)
            journal.advance(len(rows), time.monotonic() - began)
            began = time.monotonic()
            journal.save(worst_case, every=PAUSE)
            left -= len(rows)
            yield len(rows), left
        journal.finish(str(step), step.kind, worst_case.standing)

    def _fingerprint(self, worst_case: WorstCase, seed: int) -> str:
        steps = [f"{step!r}" for step in self.steps]
        return json.dumps([worst_case.fingerprint, seed, self.batch_size, *steps])


def _candidates(step: Step, worst_case: WorstCase, seed: int, number: int) -> Callable[[NDArray[np.int64]], Pixels]:
    """What `step`, the `number`-th of its ladder, proposes for some images, by their rows."""

    def candidates(rows: NDArray[np.int64]) -> Pixels:
        generator = torch.Generator(worst_case.victim.device).manual_seed(seed_of_batch(seed, number, rows))

        def propose(pixels: Tensor, labels: Tensor) -> Tensor:
            return step(worst_case.victim, pixels, labels, worst_case.threat, generator)

        return worst_case.candidates(rows, propose)

    return candidates


def seed_of_batch(seed: int, number: int, rows: NDArray[np.int64]) -> int:
    """Of the batch of images `rows` in step `number`: another one for each, the same whenever they are tried."""
    return int(np.random.SeedSequence([seed, number, int(rows[0])]).generate_state(1)[0])
