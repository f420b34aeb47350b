"""What a route of the HTTP API is."""

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from aiohttp import web

from holdfast.server.access.scopes import Requirement
from holdfast.server.api.http.bodies import Bodies
from holdfast.server.core.facade import Core
from holdfast.server.core.scheduling.messages import LONG_BYTES


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One request on its way.

    Attributes:
        request: as it came; `held` takes what it holds until its reply is written.
        caller: as in core.request.Request.
        core: answers.
        bodies: reads its body.

    """

    request: web.Request
    caller: str
    core: Core
    bodies: Bodies
    held: ExitStack

    async def body(self) -> bytes:
        """Its body, once it is this caller's turn; it is held until the reply is written.

        Raises:
            HttpError: as Bodies.read.
            QueueFullError, CallerLimitError: too much waits or is held.

        """
        messages = self.core.messages
        body = await messages.read(lambda: self.caller, lambda: self.bodies.read(self.request, self.held))
        if len(body) >= LONG_BYTES:
            self.held.callback(messages.hold(self.caller, len(body)))
        return body


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A reply: pieces of its body, as JSON unless `headers` say otherwise."""

    pieces: list[bytes]
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """One route.

    Attributes:
        method: GET or POST.
        path: as aiohttp's routes are written.
        name: for metrics, errors and the log.
        needs: what it needs of its caller; None: nobody may call it where tokens are asked for.
        answer: gives the reply, and may raise the errors of core.errors and of HTTP.
        while_draining: whether a draining server still answers.

    """

    method: str
    path: str
    name: str
    needs: Requirement | None
    answer: Callable[[HttpCall], Awaitable[HttpReply]]
    while_draining: bool = False
