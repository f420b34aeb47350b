"""When messages are read, and how many bytes of them are held: as they come, but for who sends many long ones.

How long a message is, is known once it is read; and reading a long one holds up the event loop, where gRPC copies it. So who
has sent more bytes of late than a caller may waits before the next message is read, and reads one at a time. Until then the
flow control of HTTP/2 keeps its bytes with its sender.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import inf
from typing import Self, TypeVar

from holdfast.server.core.errors import CallerLimitError, QueueFullError
from holdfast.server.core.scheduling.callers import caller_key
from holdfast.server.decoding.turns import LoopTurns
from holdfast.server.metrics.messages import MessageMetrics
from holdfast.server.settings import Settings

T = TypeVar("T")

LONG_BYTES = 2**16
"""Bytes from which on a message is counted: reading a shorter one takes a tenth of a millisecond."""

PARSED_S = 2e-9
"""Expected seconds of looking into a message, for each of its bytes."""

TOLD_APART = 16
"""Messages on their way at a time beyond which callers are told apart, and each has at most EACH."""

EACH = 16
"""Messages of one caller that are read at a time, beyond that; of one who has spent half of its burst, one."""

MOST_WAITING = 64
"""Calls of one caller whose message waits to be read; more are refused."""

LONGEST_REST_S = 0.25
"""Seconds after a refusal in which no message of that caller is read, at most."""

LOOK_EVERY_S = 0.1
"""Seconds after which it is looked again at all callers, how many of them share what all may send."""

BURST_S = 0.25
"""Seconds of its rate that a caller may send at once."""


@dataclass(frozen=True)
class MessageLimits:
    """What is read and held of messages of LONG_BYTES or more.

    Attributes:
        rate: bytes a second that one caller may send; 0: any.
        total: bytes a second that all callers may send together, each an equal part of it; 0: any.
        held: bytes of all messages that are read and whose calls have not ended.
        share: of that, for one caller while nobody else has any; with others, of what they leave.

    """

    rate: float = 0.0
    total: float = 0.0
    held: float = inf
    share: float = 1.0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What the settings let in."""
        return cls(settings.caller_message_rate, settings.message_rate, settings.message_bytes, settings.caller_share)


@dataclass(slots=True, eq=False)
class _Sender:
    """A caller who has something on its way, held, or not yet paid for."""

    reading: int = 0
    held: int = 0
    spent: float = 0.0  # bytes, at `since`
    since: float = 0.0
    rests: float = 0.0  # until then nothing of it is read
    waiting: deque["asyncio.Future[None]"] = field(default_factory=deque)
    timer: asyncio.TimerHandle | None = None


class MessageReading:
    """Says when the next message of a caller is read. Belongs to one event loop.

    Args:
        limits: what is taken.
        metrics: counts what waits and what is refused.
        turns: of the loop: what has come with many others is looked into after them.
        clock: seconds.

    """

    def __init__(
        self,
        limits: MessageLimits,
        metrics: MessageMetrics,
        turns: LoopTurns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits, self._metrics, self._turns, self._clock = limits, metrics, turns, clock
        self._times_free = limits.share / (1 - limits.share) if limits.share < 1 else inf
        self._senders: dict[str, _Sender] = {}
        self._reading, self._spending, self.held = 0, 0, 0
        self._looked = clock()
        metrics.watch_held(lambda: self.held)

    async def read(self, caller: Callable[[], str], receive: Callable[[], Awaitable[T]], most: float = MOST_WAITING) -> T:
        """What `receive` comes to, once it is this caller's turn. Bytes are counted; what is no bytes is no message.

        Args:
            caller: says whose message it is; asked only where somebody has sent long ones of late, or many at a time.
            receive: reads the message.
            most: messages of the caller that may wait.

        Raises:
            CallerLimitError: so many wait.

        """
        sender = None
        if self._senders or self._reading >= TOLD_APART:
            sender = await self._turn(caller_key(caller()), most)
        self._reading += 1
        try:
            message = await receive()
            long = len(message) if isinstance(message, bytes) and len(message) >= LONG_BYTES else 0
            if long:
                self._spend(sender or self._sender(caller()), long)
        finally:
            self._reading -= 1
            if sender is not None:
                sender.reading -= 1
                self._wake(sender)
        if long:
            await self._turns.take(caller_key(caller()), long * PARSED_S)
        return message

    def hold(self, caller: str, size: int) -> Callable[[], None]:
        """Hold room for a message that was read. Returns what gives the room back, to be called once.

        Raises:
            QueueFullError, CallerLimitError: too many bytes are held, of all or of this caller.

        """
        sender = self._sender(caller)
        left = self._limits.held - self.held - size
        if self.held and left < 0:  # one that is alone would never find more room
            self._metrics.refused("held")
            raise QueueFullError(BURST_S)
        if sender.held and sender.held + size > self._times_free * left:
            self._metrics.refused("caller")
            raise CallerLimitError(BURST_S)
        sender.held += size
        self.held += size

        def release() -> None:
            sender.held -= size
            self.held -= size

        return release

    def rest(self, caller: str, seconds: float) -> None:
        """Read nothing more of a caller for so many seconds: it was told to come back after them, and has sent a long message.

        Refusing such a call costs as much as reading it, and callers who heed nothing come back at once.
        """
        sender = self._sender(caller)
        sender.rests = max(sender.rests, self._clock() + min(seconds, LONGEST_REST_S))

    def _sender(self, caller: str) -> _Sender:
        return self._senders.setdefault(caller_key(caller), _Sender())

    def _rate(self) -> float:
        """Bytes a second that each caller may send now: less where many send long messages; inf: any."""
        total = self._limits.total / max(1, self._spending) if self._limits.total else inf
        return min(self._limits.rate or inf, total)

    def _spend(self, sender: _Sender, size: int) -> None:
        if self._rate() == inf:
            return
        spent = self._spent(sender)
        self._spending += not spent
        sender.spent = spent + size

    def _spent(self, sender: _Sender) -> float:
        """Bytes that a caller has sent, and for which not enough time has passed."""
        now = self._clock()
        if sender.spent:
            sender.spent = max(0.0, sender.spent - self._rate() * (now - sender.since))
            self._spending -= not sender.spent
        sender.since = now
        return sender.spent

    def _may(self, sender: _Sender) -> bool:
        spent, burst = self._spent(sender), BURST_S * self._rate()
        return spent <= burst and sender.rests <= self._clock() and sender.reading < (EACH if spent <= burst / 2 else 1)

    async def _turn(self, key: str, most: float) -> _Sender | None:
        """Wait until the next message of a caller may be read, and count it as being read; None for one who is not counted."""
        self._forget()
        sender = self._senders.get(key)
        if sender is None and self._reading >= TOLD_APART:
            sender = self._senders[key] = _Sender()
        if sender is None or (not sender.waiting and self._may(sender)):
            if sender is not None:
                sender.reading += 1
            return sender
        if len(sender.waiting) >= most:
            self._metrics.refused("waiting")
            raise CallerLimitError(BURST_S)
        self._metrics.delayed.inc()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sender.waiting.append(turn)
        self._wake(sender)
        try:
            await turn  # who wakes it has counted it
        except asyncio.CancelledError:
            if turn.cancelled():
                sender.waiting.remove(turn)
            else:
                sender.reading -= 1
            self._wake(sender)
            raise
        return sender

    def _wake(self, sender: _Sender) -> None:
        """Wake those whose turn it is, and come again when enough time has passed, or when what is being read was read."""
        for turn in [each for each in sender.waiting if not each.done()]:
            if not self._may(sender):
                break
            sender.waiting.remove(turn)
            sender.reading += 1
            turn.set_result(None)
        if sender.waiting and not sender.reading and sender.timer is None:
            sender.timer = asyncio.get_running_loop().call_later(self._wait(sender), self._paid, sender)

    def _wait(self, sender: _Sender) -> float:
        """Seconds until more of a caller may be read, or may be sooner than it seems now."""
        rate = self._rate()
        owed = self._spent(sender) / rate - BURST_S
        return min(LOOK_EVERY_S, max(0.0, owed, sender.rests - self._clock()))

    def _paid(self, sender: _Sender) -> None:
        sender.timer = None
        self._forget()
        self._wake(sender)

    def _forget(self) -> None:
        """Look at one caller, the next one each time and now and then all, and forget those of whom nothing is left."""
        now, looks = self._clock(), min(1, len(self._senders))
        if now - self._looked >= LOOK_EVERY_S:
            self._looked, looks = now, len(self._senders)
        for _ in range(looks):
            key = next(iter(self._senders))
            sender = self._senders.pop(key)
            if self._spent(sender) or sender.reading or sender.held or sender.waiting or sender.rests > now:
                self._senders[key] = sender
