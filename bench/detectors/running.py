"""Attackers at a real server, and after how many questions it has an alarm."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Self

import numpy as np

from bench.detectors.attackers import Attacker, Scores, SpentError
from bench.fairness.relay import relayed
from bench.harness.server_process import Server
from holdfast.auditing import RemoteClassifier
from holdfast.client import Client
from holdfast.errors import HoldfastError
from holdfast.model.preprocess import Pixels

MOST_SECONDS_BEHIND = 120.0
"""That the detectors, who have the lowest priority, are waited for."""

LOOKED_AFTER = 10
"""Questions after which they are waited for, and alarms are looked at: so many more may be counted than were needed."""

OTHERS = 4
"""Callers beside those who attack together, each of whom asks as much as these do in all."""


@dataclass(frozen=True)
class AttackRun:
    """One attack on one image.

    Attributes:
        attack: its name.
        asked: how many images until it was done, stopped, or found.
        found: how many had been asked when the first alarm was there; None where none came.
        detectors: those that had an alarm then.

    """

    attack: str
    asked: int
    found: int | None
    detectors: tuple[str, ...]


class Relays:
    """Addresses through which calls reach a server as those of other callers; the event loop of a thread of its own."""

    def __init__(self, server: Server) -> None:
        self._server, self._loop = server, asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._stack = AsyncExitStack()
        self._used = 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stack.aclose(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def another(self) -> str:
        """An address of its own for a new caller."""
        self._used += 1
        caller = f"127.1.{self._used // 250}.{1 + self._used % 250}"
        entered = self._stack.enter_async_context(relayed(self._server.address, caller))
        return asyncio.run_coroutine_threadsafe(entered, self._loop).result(10)


def alarms_of(server: Server, *, all_together: bool) -> dict[str, float]:
    """Alarms that have begun about one caller, by detector; where wanted, those about all together as well."""
    found: dict[str, float] = {}
    for sample in server.samples():
        if sample.name == "holdfast_alarms_total" and (all_together or sample.labels["scope"] == "caller"):
            found[sample.labels["detector"]] = found.get(sample.labels["detector"], 0.0) + sample.value
    return found


@contextmanager
def _callers(relays: Relays, count: int) -> Iterator[list[RemoteClassifier]]:
    with ExitStack() as stack:
        yield [RemoteClassifier(stack.enter_context(Client(relays.another(), timeout=60))) for _ in range(count)]


def attack_once(
    server: Server, relays: Relays, attacker: Attacker, target: tuple[Pixels, int], background: Pixels, *, most: int, seed: int
) -> AttackRun:
    """Lets it ask until there is an alarm, or `most` images.

    Args:
        server: that is asked.
        relays: of its callers.
        attacker: one who has many callers asks among four times as many images of others.
        target: the image uint8 [H, W, 3] and its answered class.
        background: images of others, uint8 [n, H, W, 3].
        most: questions.
        seed: of the attack.

    """
    many, asked, next_look = attacker.callers > 1, 0, LOOKED_AFTER
    await_detectors(server)
    before, found = alarms_of(server, all_together=many), tuple[str, ...]()
    with _callers(relays, attacker.callers) as callers, _callers(relays, OTHERS if many else 0) as others:

        def ask(images: Pixels) -> Scores:
            nonlocal asked, found, next_look
            if asked >= most:
                raise SpentError
            parts = []
            for image in images:
                for number, other in enumerate(others):
                    row = (asked * OTHERS + number) % len(background)
                    other.labels(background[row : row + 1])
                parts.append(callers[asked % len(callers)].scores(image[None]))
                asked += 1
            if asked < next_look:
                return np.concatenate(parts)
            next_look = asked + LOOKED_AFTER
            await_detectors(server)
            now = alarms_of(server, all_together=many)
            found = tuple(sorted(name for name, count in now.items() if count > before.get(name, 0.0)))
            if found:
                raise SpentError
            return np.concatenate(parts)

        with suppress(SpentError):
            attacker.run(ask, *target, np.random.default_rng(seed))
    return AttackRun(attacker.name, asked, asked if found else None, found)


def await_detectors(server: Server) -> None:
    """Until they have looked at all that was answered.

    Raises:
        HoldfastError: they are too far behind.

    """
    give_up = time.monotonic() + MOST_SECONDS_BEHIND
    while time.monotonic() < give_up:
        totals = server.totals()
        looked_at = totals["holdfast_detector_images_total"] + totals.get("holdfast_observer_shed_images_total", 0.0)
        if looked_at >= totals["holdfast_credibility_count"]:
            return
        time.sleep(0.02)
    raise HoldfastError(f"the detectors are more than {MOST_SECONDS_BEHIND:g} s behind: the machine is too busy for this")
