"""Every call of the admin service bears a token, which says who makes it and whether they may."""

from contextvars import ContextVar
from typing import Any

from holdfast.server.api.admin.tokens import Principal, TokenFile
from holdfast.server.api.interceptors import Around, Behaviour, Context
from holdfast.server.core.errors import ForbiddenError, UnauthenticatedError

KEY = "authorization"
SCHEME = "Bearer "

READING = ("Get", "List", "Export")
"""How the names of methods begin that change nothing."""

ANYBODY = Principal("anonymous")
"""Whoever calls a service that asks for no token."""

_PRINCIPAL: ContextVar[Principal] = ContextVar("principal")


def principal() -> Principal:
    """Who makes the call that is being answered."""
    return _PRINCIPAL.get()


class Authenticate(Around):
    """Lets calls through that bear a known token with the right to do what they ask.

    Args:
        tokens: that are known; None where no token is asked for.

    """

    def __init__(self, tokens: TokenFile | None) -> None:
        super().__init__()
        self._tokens = tokens

    def around(self, inner: Behaviour, method: str, kind: str) -> Behaviour:
        """Guard one method."""
        del kind
        reads = method.rpartition("/")[2].startswith(READING)

        async def authenticated(request: Any, context: Context) -> Any:
            who = self._principal_of(context)
            if not (reads or who.may_change):
                raise ForbiddenError(f"the token of {who.name} may only read")
            _PRINCIPAL.set(who)  # each call is a task, with a context of its own
            return await inner(request, context)

        return authenticated

    def _principal_of(self, context: Context) -> Principal:
        if self._tokens is None:
            return ANYBODY
        sent = [value for key, value in context.invocation_metadata() or () if key == KEY]
        if len(sent) != 1 or not isinstance(sent[0], str) or not sent[0].startswith(SCHEME):
            raise UnauthenticatedError(f'this service wants a token: send the metadata {KEY}: "{SCHEME}TOKEN"')
        holder = self._tokens.holder_of(sent[0].removeprefix(SCHEME))
        if holder is None:
            raise UnauthenticatedError("this token is not known here")
        return holder
