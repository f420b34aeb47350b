"""What is taken and what is refused: bounds for all and for one caller, and nothing that cannot be ready in time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import NamedTuple, Self

from holdfast.server.core.errors import CallerLimitError, DeadlineError, NotInTimeError, QueueFullError
from holdfast.server.core.scheduling.callers import CallerRates, caller_key
from holdfast.server.core.scheduling.prediction import Backlog, Lateness
from holdfast.server.metrics.metrics import Metrics, RefusalReason
from holdfast.server.settings import Settings

SHORTEST_PAUSE_S = 0.01
"""Seconds after which a refused caller may try again, at least."""

REPLY_MARGIN_S = 0.002
"""Seconds that a reply is on its way, at least."""

SHORTEST_PREDICTION_S = 0.01
"""Predictions of fewer seconds teach nothing: what they are wrong by is the machine's, and not the queue's."""


@dataclass(frozen=True)
class AdmissionLimits:
    """What is taken at most.

    Attributes:
        images: admitted and not yet answered, their replies not yet written.
        share: of that, for one caller while nobody else has any; with others, of what they leave.
        reply_bytes: of replies that are not yet written, as estimated when a call is admitted; shared out alike.
        rate: images a second of one caller on average; 0: any.
        burst: seconds of that rate that one caller may send at once.

    """

    images: int
    share: float = 1.0
    reply_bytes: float = inf
    rate: float = 0.0
    burst: float = 1.0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What the settings let in: to the engine, and to each worker."""
        return cls(
            images=settings.queue_images,
            share=settings.caller_share,
            reply_bytes=settings.reply_bytes,
            rate=settings.caller_rate,
            burst=settings.caller_burst,
        )


class Demand(NamedTuple):
    """What one call asks for.

    Attributes:
        images: how many.
        deadline: on time.monotonic()'s clock.
        caller: as in core.request.Request.
        decoding: seconds that decoding them will take, as far as that is known.
        reply_bytes: of the reply, about.

    """

    images: int
    deadline: float = inf
    caller: str = ""
    decoding: float = 0.0
    reply_bytes: int = 0


@dataclass(slots=True)
class _Held:
    """What one caller has under way."""

    images: int = 0
    reply_bytes: int = 0


class Permit:
    """Room for one admitted call, until it is released: once its reply is written, or nobody waits for it.

    Made by Admission. A context manager that releases it.
    """

    __slots__ = ("_admission", "_answered", "_undecoded", "admitted", "decoding", "demand", "key", "predicted", "released")

    def __init__(self, admission: "Admission", demand: Demand, key: str, predicted: float) -> None:
        self._admission, self.demand, self.key, self.predicted = admission, demand, key, predicted
        self.admitted, self.decoding = time.monotonic(), demand.decoding
        self._undecoded, self._answered, self.released = True, False, False

    def charge(self, seconds: float) -> None:
        """Decoding will take so long, as is known by now, instead of what was said at first.

        Raises:
            NotInTimeError: which is too long.

        """
        self._admission.charge(self, seconds)

    def decoded(self) -> None:
        """The images go to the engine now; counts once."""
        if self._undecoded:
            self._undecoded = False
            self._admission.decoded(self)

    def answered(self) -> None:
        """The answers are there; the reply is not written yet. Counts once."""
        if not self._answered:
            self._answered = True
            self._admission.answered(self)

    def release(self) -> None:
        """Give the room back; counts once."""
        if not self.released:
            self.decoded()
            self.released = True
            self._admission.give_back(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


class Admission:
    """Counts calls from their admission to their reply, and refuses what is too much or too late. Belongs to one event loop.

    Args:
        limits: what is taken.
        metrics: counts what is refused.
        backlog: what is ahead of a newcomer now.

    """

    def __init__(self, limits: AdmissionLimits, metrics: Metrics, backlog: Callable[[], Backlog]) -> None:
        self._limits, self._metrics, self._backlog = limits, metrics, backlog
        self._held: dict[str, _Held] = {}  # no caller without anything under way, so no more than there are images
        self._rates = CallerRates(limits.rate, limits.rate * limits.burst) if limits.rate else None
        # Of what is left, one caller may have so many times what nobody has: alone, this is its share of all.
        self._times_free = limits.share / (1 - limits.share) if limits.share < 1 else inf
        self._undecoded, self._decoding = 0, 0.0
        self._lateness = Lateness()
        self.admitted, self.reply_bytes = 0, 0

    def take(self, demand: Demand) -> Permit:
        """Count a call in; whoever did releases its permit.

        Raises:
            DeadlineError: time.monotonic() has passed the deadline.
            QueueFullError, NotInTimeError, CallerLimitError: refused, and when to try again.

        """
        now, images, key = time.monotonic(), demand.images, caller_key(demand.caller)
        if demand.deadline <= now:
            raise DeadlineError
        held = self._held.get(key)
        if self.admitted + images > self._limits.images:
            self._refuse(images, "queue", QueueFullError(self._pause()))
        if self._rates is not None and (wait := self._rates.wait(key, images)):
            self._refuse(images, "rate", CallerLimitError(wait))
        if self.admitted:  # a call that is alone would never find more room
            self._check_share(demand, held or _Held())
        own, decoding = held.images if held else 0, self._decoding + demand.decoding
        ahead = self._backlog().seconds_until(now, images, own=own, undecoded=self._undecoded, decoding=decoding)
        predicted = self._check_time(demand, now, ahead, self.admitted)
        if self._rates is not None:
            self._rates.take(key, images)
        if held is None:
            held = self._held[key] = _Held()
        held.images += images
        held.reply_bytes += demand.reply_bytes
        self.admitted += images
        self.reply_bytes += demand.reply_bytes
        self._undecoded += images
        self._decoding += demand.decoding
        return Permit(self, demand, key, predicted)

    def pause(self) -> float:
        """Seconds in which half of what is admitted will have been answered."""
        return self.admitted / 2 * self._backlog().per_image

    def charge(self, permit: Permit, seconds: float) -> None:
        """Called by permits: see there."""
        self._decoding += seconds - permit.decoding
        permit.decoding = seconds
        images, now = permit.demand.images, time.monotonic()
        own, others = self._held[permit.key].images - images, self.admitted - images
        ahead = self._backlog().seconds_until(now, images, own=own, undecoded=self._undecoded - images, decoding=self._decoding)
        predicted = self._check_time(permit.demand, now, ahead, others)
        permit.predicted = now - permit.admitted + predicted

    def decoded(self, permit: Permit) -> None:
        """Called by permits: this much is before the queue no more."""
        self._undecoded -= permit.demand.images
        self._decoding = max(0.0, self._decoding - permit.decoding)

    def answered(self, permit: Permit) -> None:
        """Called by permits: compare with what was predicted."""
        if permit.predicted >= SHORTEST_PREDICTION_S:
            self._lateness.add(permit.predicted, time.monotonic() - permit.admitted)

    def give_back(self, permit: Permit) -> None:
        """Called by permits: count a call out."""
        demand, held = permit.demand, self._held[permit.key]
        held.images -= demand.images
        held.reply_bytes -= demand.reply_bytes
        if not held.images:
            del self._held[permit.key]
        self.admitted -= demand.images
        self.reply_bytes -= demand.reply_bytes

    def _check_share(self, demand: Demand, held: _Held) -> None:
        """Refuse what is more than this caller's share of what is free: so there is always something left for another."""
        limits, images, reply_bytes = self._limits, demand.images, demand.reply_bytes
        if held.images + images > self._times_free * (limits.images - self.admitted - images):
            self._refuse(images, "caller", CallerLimitError(self._pause()))
        bytes_left = limits.reply_bytes - self.reply_bytes - reply_bytes
        if bytes_left < 0:
            self._refuse(images, "replies", QueueFullError(self._pause()))
        if held.reply_bytes + reply_bytes > self._times_free * bytes_left:
            self._refuse(images, "replies", CallerLimitError(self._pause()))

    def _check_time(self, demand: Demand, now: float, predicted: float, others: int) -> float:
        """Refuse what would be ready too late, beside so many other images. Returns the prediction, in seconds."""
        late = now + predicted * self._lateness.factor + REPLY_MARGIN_S - demand.deadline
        if late > 0 and others:  # one that is alone is tried: or what was slow once would be refused for ever
            self._refuse(demand.images, "deadline", NotInTimeError(max(late, SHORTEST_PAUSE_S)))
        return predicted

    def _pause(self) -> float:
        return max(SHORTEST_PAUSE_S, self.pause())

    def _refuse(self, images: int, reason: RefusalReason, error: Exception) -> None:
        self._metrics.refused(reason).inc(images)
        try:
            raise error
        finally:
            del error  # or it would hold itself, by this frame, and with it the message of the call
