"""A suite of attacks: per-sample worst case, each attack on the survivors of those before it; it can be interrupted."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.attacks.attack import Attack
from holdfast.attacks.quantise import to_pixels
from holdfast.attacks.search.journal import Journal, Tried
from holdfast.attacks.search.threads import Map, side_by_side
from holdfast.attacks.search.worst_case import WorstCase, WorstCaseAttack, batches
from holdfast.console import Progress
from holdfast.model.preprocess import Pixels

AfterBatch = Callable[[int, int, int], None]
"""Called after each batch: (number of the attack, images it has just tried, images it still has to try)."""

SAVE_EVERY_S = 2.0
"""Seconds between two writings of a journal. It holds every attacked image, 34 MB for 10,000 of CIFAR-10, and a GPU may have
done the next batch before these are on a disk."""


@dataclass(frozen=True)
class AttackSuite(WorstCaseAttack):
    """Attacks that run in this order; one that is listed several times is restarted as often.

    Attributes:
        attacks: what is run.
        batch_size: images attacked at once.

    """

    attacks: tuple[Attack, ...]
    batch_size: int = 128

    def __str__(self) -> str:
        names = list(map(str, self.attacks))
        return ", ".join(f"{name} x {names.count(name)}" for name in dict.fromkeys(names))

    def run(
        self,
        worst_case: WorstCase,
        *,
        seed: int = 0,
        progress: Progress | None = None,
        store: Path | None = None,
        watch: AfterBatch | None = None,
    ) -> tuple[Tried, ...]:
        """Let every attack try the survivors of `worst_case`, which keeps what they find.

        Args:
            worst_case: what is attacked, on which images, within which ball; what it has found already is kept.
            seed: of all random numbers: the same seed, the same outcome (on the same kind of device), interrupted or not.
            progress: where to show a bar; none without.
            store: a file .npz; what an earlier, interrupted call left there is not done again. It is written after a batch,
                at most every `SAVE_EVERY_S` seconds, and by whatever ends the call: only what kills the process costs a
                batch or two.
            watch: called after every batch, once it is judged; what it raises ends the call.

        Returns:
            What each attack came to, in order.

        Raises:
            HoldfastError: `store` is of another suite or worst case.

        """
        journal = Journal.open(store, self._fingerprint(worst_case, seed), worst_case)
        bar = progress or Progress(disable=True)
        task = bar.add_task(f"attack {worst_case.threat}", total=len(self.attacks))

        def show(number: int, done: float) -> None:
            description = f"attack {worst_case.threat}: {self.attacks[number]}, {worst_case.description}"
            bar.update(task, completed=number + done, description=description)

        with side_by_side(worst_case.victim.threads) as each:
            try:
                while (number := len(journal.tried)) < len(self.attacks):
                    show(number, 0.0)
                    for images, waiting in self._try(number, worst_case, seed, journal, each):
                        show(number, 1 - waiting / (waiting + journal.position))
                        if watch is not None:
                            watch(number, images, waiting)
            finally:
                # A batch in the middle of which it ended does not count yet: it is tried and judged again.
                journal.save(worst_case)
        description = f"attack {worst_case.threat}: {worst_case.description}"
        bar.update(task, completed=len(self.attacks), description=description)
        return tuple(journal.tried)

    def _try(self, number: int, worst_case: WorstCase, seed: int, journal: Journal, each: Map) -> Iterator[tuple[int, int]]:
        """Let one attack try what it still has to; yields (images tried, images left) after each batch, once it is judged."""
        attack = self.attacks[number]
        parts = list(batches(journal.begin(worst_case.rows), self.batch_size))
        left = sum(map(len, parts))
        began = time.monotonic()
        for rows, candidates in zip(parts, each(_candidates(attack, worst_case, seed, number), parts), strict=True):
            worst_case.judge(rows, str(attack), candidates)
            journal.advance(len(rows), time.monotonic() - began)
            began = time.monotonic()
            journal.save(worst_case, every=SAVE_EVERY_S)
            left -= len(rows)
            yield len(rows), left
        journal.finish(str(attack), attack.kind, worst_case)

    def _fingerprint(self, worst_case: WorstCase, seed: int) -> str:
        attacks = [f"{attack!r}" for attack in self.attacks]
        return json.dumps([worst_case.fingerprint, seed, self.batch_size, *attacks])


def _candidates(attack: Attack, worst_case: WorstCase, seed: int, number: int) -> Callable[[NDArray[np.int64]], Pixels]:
    """What `attack`, the `number`-th of its suite, proposes for some images, by their rows."""

    def candidates(rows: NDArray[np.int64]) -> Pixels:
        victim = worst_case.victim
        generator = torch.Generator(victim.device).manual_seed(seed_of_batch(seed, number, rows))
        best = to_pixels(worst_case.best(rows), victim.device)

        def propose(pixels: Tensor, labels: Tensor) -> Tensor:
            return attack(victim, pixels, labels, worst_case.threat, generator, best=best)

        return worst_case.candidates(rows, propose)

    return candidates


def seed_of_batch(seed: int, number: int, rows: NDArray[np.int64]) -> int:
    """Of the batch of images `rows` in the `number`-th attack: another one for each, the same whenever they are tried."""
    return int(np.random.SeedSequence([seed, number, int(rows[0])]).generate_state(1)[0])
