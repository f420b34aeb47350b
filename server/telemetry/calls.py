"""The call that is being answered, as logs and traces know it. Knows no transport and no library of tracing."""

import random
import re
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.server.core.request import BatchSlice

REQUEST_ID_KEY = "x-request-id"
"""In a call's metadata, and in what trails the reply."""

MOST_STAGES = 64
"""Stages of one call that are kept. A stream has some for each of its messages, and need not end."""

_FIT = re.compile(r"[A-Za-z0-9._:/+=@-]+", flags=re.ASCII)


@dataclass(frozen=True, slots=True)
class CallStage:
    """A part of a call's time, in seconds on time.monotonic()'s clock."""

    name: str
    began: float
    ended: float


class CallTrace:
    """The stages of a call that is traced.

    Attributes:
        trace_id, span_id: in hexadecimal digits, 32 and 16.
        stages: the first MOST_STAGES.
        unary: whether the call has one request and one reply.

    """

    def __init__(self, trace_id: str, span_id: str) -> None:
        self.trace_id, self.span_id = trace_id, span_id
        self.began = time.monotonic()
        self.stages: list[CallStage] = []
        self.unary = True

    def add(self, name: str, began: float, ended: float) -> None:
        """One stage has ended."""
        if len(self.stages) < MOST_STAGES:
            self.stages.append(CallStage(name, began, ended))


@dataclass(slots=True, eq=False)
class CurrentCall:
    """One call.

    Attributes:
        request_id: the caller's, or one made here.
        caller: says who makes it, as far as that is known when it is asked.
        trace: None where the call is not traced.

    """

    request_id: str
    caller: Callable[[], str] = field(default=str)
    trace: CallTrace | None = None


CURRENT: ContextVar[CurrentCall | None] = ContextVar("current_call", default=None)


class Stages:
    """Tells the stages of one request apart, one after the other. Does nothing where the call is not traced.

    Args:
        trace: of its call.
        admitted: when it was admitted, on time.monotonic()'s clock.

    """

    __slots__ = ("_latest", "_trace")

    def __init__(self, trace: CallTrace | None, admitted: float) -> None:
        self._trace, self._latest = trace, admitted
        if trace is not None and trace.unary:  # of a stream, nobody knows when one of its messages came
            trace.add("admission", trace.began, admitted)

    def end(self, name: str) -> None:
        """The stage `name` ends now; it began where the one before it ended."""
        if self._trace is not None:
            self._add(name, time.monotonic())

    def end_inference(self, slices: "Sequence[BatchSlice]") -> None:
        """The stages "queue" and "engine" end now, by what the batches say of their times."""
        if self._trace is None or not slices:
            return
        self._add("queue", max(self._latest, min(part.began for part in slices)))
        self._add("engine", max(self._latest, *(part.began + part.seconds for part in slices)))

    def _add(self, name: str, ended: float) -> None:
        if self._trace is not None:
            self._trace.add(name, self._latest, ended)
            self._latest = ended


_UNTRACED = Stages(None, 0.0)


def stages_of_call(admitted: float) -> Stages:
    """The stages of a request of the current call, which was admitted then, on time.monotonic()'s clock."""
    call = CURRENT.get()
    return _UNTRACED if call is None or call.trace is None else Stages(call.trace, admitted)


def request_id_of(sent: object, longest: int) -> str | None:
    """A caller's id of a request, if it is one that may be written anywhere: short, and of harmless characters."""
    if not isinstance(sent, str) or not 0 < len(sent) <= longest or _FIT.fullmatch(sent) is None:
        return None
    return sent


def new_request_id() -> str:
    """16 hexadecimal digits. Not a secret."""
    return f"{random.getrandbits(64):016x}"
