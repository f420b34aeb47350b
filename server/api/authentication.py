"""Who makes a call, and whether they may: tokens in the metadata, names from client certificates, scopes of methods."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from holdfast.server.access.gate import Gate
from holdfast.server.access.scopes import Needs, Principal, Requirement, Scope
from holdfast.server.access.tokens import TokenRecord
from holdfast.server.api.interceptors import Around, Behaviour, Context
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


def require(scope: Scope, field: str) -> None:
    """Refuse a request that asks, by this field, for more than its caller may have.

    Raises:
        ForbiddenError: the caller's token lacks the scope; says which.

    """
    call = _CALL.get(None)
    if call is not None and not call.principal.may(scope):
        call.gate.refused(RefusalReason.SCOPE, call.method, call.peer)
        raise ForbiddenError(f'{field} needs the scope "{scope}", which the token of {call.principal.name} lacks')


class Authenticate(Around):
    """Lets calls through that bear a known token with the scope that their method needs.

    Where no tokens are asked for, every call is let through, by the name in the caller's certificate if it has shown one.

    Args:
        gate: says who holds a token.
        requirements: by method, "/package.Service/Method". What is not among them is refused to everybody.

    """

    def __init__(self, gate: Gate, requirements: Mapping[str, Requirement]) -> None:
        super().__init__()
        self._gate, self._requirements = gate, requirements

    def around(self, inner: Behaviour, method: str, kind: str) -> Behaviour:
        """Guard one method."""
        needs, tokens = self._requirements.get(method), self._gate.tokens
        if needs is Needs.NOTHING:
            return inner

        async def named(request: Any, context: Context) -> Any:
            self._set(_certificate_name(context), method, context)
            return await inner(request, context)

        async def authenticated(request: Any, context: Context) -> Any:
            record = self._record_of(method, context)
            self._check(needs, record.principal, method, context)
            self._set(record.principal, method, context)
            return await inner(request, context)

        async def held(request: Any, context: Context) -> Any:
            record = self._record_of(method, context)
            self._check(needs, record.principal, method, context)
            self._set(record.principal, method, context)
            return await self._until_revoked(record, asyncio.ensure_future(inner(request, context)), method, context)

        if tokens is None:
            return named
        return authenticated if kind == "unary" else held

    def _record_of(self, method: str, context: Context) -> TokenRecord:
        """The token that a call bears."""
        sent = [value for key, value in context.invocation_metadata() or () if key == KEY]
        scheme, _, token = sent[0].partition(" ") if len(sent) == 1 and isinstance(sent[0], str) else ("", "", "")
        if scheme.lower() != SCHEME or not token:
            self._gate.refused(RefusalReason.MISSING, method, context.peer())
            raise UnauthenticatedError(f'this server asks for a token: send the metadata {KEY}: "Bearer TOKEN", once')
        record = self._gate.find(token)
        if record is None:
            self._gate.refused(RefusalReason.UNKNOWN, method, context.peer())
            raise UnauthenticatedError("this token is not known here")
        if record.expired(datetime.now(UTC)):
            self._gate.refused(RefusalReason.EXPIRED, method, context.peer())
            raise UnauthenticatedError(f"the token of {record.name} has expired")
        return record

    def _check(self, needs: Requirement | None, who: Principal, method: str, context: Context) -> None:
        if needs is Needs.ANY_TOKEN or (isinstance(needs, Scope) and who.may(needs)):
            return
        self._gate.refused(RefusalReason.SCOPE, method, context.peer())
        name = method.rpartition("/")[2]
        if needs is None:
            raise ForbiddenError(f"{name} is open to nobody here: no scope is declared for it")
        raise ForbiddenError(f'{name} needs the scope "{needs}", which the token of {who.name} lacks')

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
    if not names:
        return None
    first = next(iter(names)).decode("utf-8", "replace")
    readable = "".join(letter if letter.isprintable() else "?" for letter in first[:LONGEST_NAME])
    return Principal(f"cert:{readable}")
