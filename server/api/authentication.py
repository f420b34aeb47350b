"""Who makes a call, and whether they may: tokens in the metadata, names from client certificates, scopes of methods."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc.aio

from holdfast.server.access.gate import Gate
from holdfast.server.access.scopes import Needs, Principal, Requirement, Scope
from holdfast.server.access.tokens import TokenRecord
from holdfast.server.api.interceptors import Around, Behaviour, Context, handler_of, kind_of
from holdfast.server.core.errors import ForbiddenError, UnauthenticatedError
from holdfast.server.metrics.access import RefusalReason

KEY = "authorization"
SCHEME = "bearer"

ANYBODY = Principal("anonymous")
"""Whoever makes a call where neither tokens nor certificates are asked for."""

LONGEST_NAME = 128
"""Characters of a name from a certificate that are kept."""


@dataclass(frozen=True, slots=True)
class _Call:
    principal: Principal
    gate: Gate
    method: str
    peer: str


_CALL: ContextVar[_Call] = ContextVar("call")


def principal() -> Principal:
    """Who makes the call that is being answered; ANYBODY where nobody asks."""
    call = _CALL.get(None)
    return ANYBODY if call is None else call.principal


def arriving(context: Context) -> Principal:
    """Who makes a call whose message is not read: by its token or else its certificate; ANYBODY where it has neither."""
    record = _ADMITTED.get(None)
    return record.principal if record is not None else _certificate_name(context) or ANYBODY


def require(scope: Scope, field: str) -> None:
    """Refuse a request that asks, by this field, for more than its caller may have.

    Raises:
        ForbiddenError: the caller's token lacks the scope; says which.

    """
    call = _CALL.get(None)
    if call is not None and not call.principal.may(scope):
        call.gate.refused(RefusalReason.SCOPE, call.method, call.peer)
        raise ForbiddenError(f'{field} needs the scope "{scope}", which the token of {call.principal.name} lacks')


_ADMITTED: ContextVar[TokenRecord] = ContextVar("admitted")
_REFUSAL: ContextVar["_Refusal"] = ContextVar("refusal")


@dataclass(frozen=True, slots=True)
class _Refusal:
    error: UnauthenticatedError | ForbiddenError
    reason: RefusalReason


@dataclass(frozen=True, slots=True)
class Arrival:
    """A call that came over something else than gRPC, and asks to be let in.

    Attributes:
        method: for the log and for errors; what follows its last slash is its name.
        peer: for the log.
        sent: every `authorization` that came with the call.
        name: in the certificate that the caller has shown; None where it has shown none.

    """

    method: str
    peer: str
    sent: Sequence[object]
    name: Principal | None


def let_in(gate: Gate, needs: Requirement | None, call: Arrival) -> None:
    """Let one call through, and set who makes it in the context of its task, or refuse it.

    Raises:
        UnauthenticatedError: no known token came, where one is asked for.
        ForbiddenError: it lacks the scope, or nobody may call the method.

    """
    if needs is Needs.NOTHING:
        return
    who = call.name
    if gate.tokens is not None:
        found = _look_at(gate, needs, call.method, call.sent)
        if isinstance(found, _Refusal):
            gate.refused(found.reason, call.method, call.peer)
            raise found.error
        who = found.principal
    if who is not None:
        _CALL.set(_Call(who, gate, call.method, call.peer))


def _look_at(gate: Gate, needs: Requirement | None, method: str, sent: Sequence[object]) -> TokenRecord | _Refusal:
    """The token that a call bears, or why it is refused."""
    scheme, _, token = sent[0].partition(" ") if len(sent) == 1 and isinstance(sent[0], str) else ("", "", "")
    if scheme.lower() != SCHEME or not token:
        wanted = f'this server asks for a token: send the metadata {KEY}: "Bearer TOKEN", once'
        return _Refusal(UnauthenticatedError(wanted), RefusalReason.MISSING)
    record = gate.find(token)
    if record is None:
        return _Refusal(UnauthenticatedError("this token is not known here"), RefusalReason.UNKNOWN)
    if record.expired(datetime.now(UTC)):
        return _Refusal(UnauthenticatedError(f"the token of {record.name} has expired"), RefusalReason.EXPIRED)
    if needs is Needs.ANY_TOKEN or (isinstance(needs, Scope) and record.principal.may(needs)):
        return record
    name = method.rpartition("/")[2]
    lacks = f'{name} needs the scope "{needs}", which the token of {record.name} lacks'
    undeclared = f"{name} is open to nobody here: no scope is declared for it"
    return _Refusal(ForbiddenError(undeclared if needs is None else lacks), RefusalReason.SCOPE)


def guards(
    gate: Gate, requirements: Mapping[str, Requirement], others: Sequence[Around]
) -> tuple[grpc.aio.ServerInterceptor, ...]:
    """The interceptors of a server: these others, and those that look at who calls, as far as the gate asks for anything.

    Args:
        gate: says who holds a token.
        requirements: by method, "/package.Service/Method". Where tokens are asked for, nobody may call what is not here.
        others: the outermost first; they see refused calls too.

    """
    if gate.tokens is not None:
        return (Authenticate(gate, requirements, others), *others, Identify(gate, requirements))
    return (*others, Identify(gate, requirements)) if gate.asks_for_certificates else tuple(others)


class Authenticate(grpc.aio.ServerInterceptor):
    """Refuses calls without a known token, or without the scope that their method needs, before their message is parsed.

    A message of 16 MiB can be made to take a second and 400 MB to parse: a stranger's is not worth that. Arguments as those of
    `guards`.
    """

    def __init__(self, gate: Gate, requirements: Mapping[str, Requirement], others: Sequence[Around]) -> None:
        self._gate, self._requirements, self._others = gate, requirements, others
        self._refusing: dict[str, Any] = {}

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Called by gRPC for each call, in the task that goes on to answer it."""
        handler, method = await continuation(handler_call_details), handler_call_details.method
        needs = self._requirements.get(method)
        if handler is None or needs is Needs.NOTHING:
            return handler
        sent = [value for key, value in handler_call_details.invocation_metadata or () if key == KEY]
        found = _look_at(self._gate, needs, method, sent)
        if isinstance(found, TokenRecord):
            _ADMITTED.set(found)
            return handler
        _REFUSAL.set(found)
        if method not in self._refusing:
            self._refusing[method] = self._refusing_handler(handler, method)
        return self._refusing[method]

    def _refusing_handler(self, handler: Any, method: str) -> Any:
        """A method of the same kind that parses nothing and refuses, seen by the others as any other."""

        async def refuse(_: Any, context: Context) -> Any:
            refusal = _REFUSAL.get()
            self._gate.refused(refusal.reason, method, context.peer())
            raise refusal.error

        kind = kind_of(handler)
        behaviour: Behaviour = refuse
        for other in reversed(self._others):
            behaviour = other.around(behaviour, method, kind)
        return handler_of(behaviour, handler, request_deserializer=None)


class Identify(Around):
    """Tells who makes a call, by its token or else its certificate, and ends a stream whose token is no longer valid.

    Args:
        gate: whose callers they are.
        requirements: as those of `guards`.

    """

    def __init__(self, gate: Gate, requirements: Mapping[str, Requirement]) -> None:
        super().__init__()
        self._gate, self._requirements = gate, requirements

    def around(self, inner: Behaviour, method: str, kind: str) -> Behaviour:
        """Name the callers of one method."""
        if self._requirements.get(method) is Needs.NOTHING:
            return inner

        async def named(request: Any, context: Context) -> Any:
            self._set(_certificate_name(context), method, context)
            return await inner(request, context)

        async def admitted(request: Any, context: Context) -> Any:
            self._set(_ADMITTED.get().principal, method, context)
            return await inner(request, context)

        async def held(request: Any, context: Context) -> Any:
            record = _ADMITTED.get()
            self._set(record.principal, method, context)
            return await self._until_revoked(record, asyncio.ensure_future(inner(request, context)), method, context)

        if self._gate.tokens is None:
            return named
        return admitted if kind == "unary" else held

    def _set(self, who: Principal | None, method: str, context: Context) -> None:
        if who is not None:
            _CALL.set(_Call(who, self._gate, method, context.peer()))  # each call is a task, with a context of its own

    async def _until_revoked(self, record: TokenRecord, answering: "asyncio.Future[Any]", method: str, context: Context) -> Any:
        """Let a stream go on for as long as its token is valid."""
        with self._gate.watching(record) as revoked:
            try:
                done, _ = await asyncio.wait({answering, revoked}, return_when=asyncio.FIRST_COMPLETED)
                if answering in done:
                    return answering.result()
            finally:
                await _end(answering)
        self._gate.refused(RefusalReason.REMOVED, method, context.peer())
        raise UnauthenticatedError(f"the token of {record.name} is no longer valid")


async def _end(task: "asyncio.Future[Any]") -> None:
    """Cancel what has not ended, and wait until it has."""
    if task.done():
        return
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task


def _certificate_name(context: Context) -> Principal | None:
    """The caller's name in its certificate: the first alternative name, else the common name; None without a certificate."""
    names = context.peer_identities()
    return named_by_certificate(next(iter(names)).decode("utf-8", "replace")) if names else None


def named_by_certificate(name: str) -> Principal:
    """Who shows a certificate of that name."""
    readable = "".join(letter if letter.isprintable() else "?" for letter in name[:LONGEST_NAME])
    return Principal(f"cert:{readable}")
