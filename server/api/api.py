"""What an API is: a gRPC service over the core. Each is a module here and one line in table.py."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc.aio

from holdfast.server.access.scopes import Principal, Requirement
from holdfast.server.api.authentication import ANYBODY, arriving, principal
from holdfast.server.core.facade import Core
from holdfast.server.core.request import NO_DEADLINE
from holdfast.server.core.scheduling.admission import Permit

if TYPE_CHECKING:
    from grpc.aio import ServicerContext


@dataclass(frozen=True)
class Api:
    """One service.

    Attributes:
        name: "package.Service", as methods begin with it; health, metrics and reflection know the service by it.
        register: adds the service to a server that does not listen yet. Its methods may raise the errors of core.errors:
            they become statuses, calls are counted and timed, and a draining server refuses them.
        scopes: what each method needs of its caller, by the method's name. Where tokens are asked for, nobody may call a
            method that is not here.

    """

    name: str
    register: Callable[[grpc.aio.Server, Core], None]
    scopes: Mapping[str, Requirement] = field(default_factory=dict)

    @property
    def requirements(self) -> dict[str, Requirement]:
        """The same by "/package.Service/Method"."""
        return {f"/{self.name}/{method}": needs for method, needs in self.scopes.items()}


def release_when_done(context: "ServicerContext[Any, Any]", permit: Permit) -> None:
    """Give the call's room back once its reply is written, as far as the caller lets it be; or once it has ended otherwise."""

    def release(_: object) -> None:
        permit.release()

    context.add_done_callback(release)  # type: ignore[arg-type]  # the stub's type is a class, and gRPC takes any function


def deadline_of(context: "ServicerContext[Any, Any]") -> float:
    """The caller's deadline on time.monotonic()'s clock."""
    left = context.time_remaining()
    return NO_DEADLINE if left is None else time.monotonic() + left


def caller_of(context: "ServicerContext[Any, Any]") -> str:
    """Who makes a call: the name of its token or, without tokens, of its certificate, as "cert:NAME"; else its peer's address.

    The address is without its port, of "ipv4:10.0.0.7:51234" or "ipv6:%5B::1%5D:51234"; "unix" for a Unix socket.
    """
    return _name_or_peer(principal(), context)


def sender_of(context: "ServicerContext[Any, Any]") -> str:
    """The same, while the call's message is not read."""
    return _name_or_peer(arriving(context), context)


def _name_or_peer(who: Principal, context: "ServicerContext[Any, Any]") -> str:
    if who is not ANYBODY:
        return who.name
    kind, _, address = context.peer().partition(":")
    if kind == "ipv4":
        return address.rpartition(":")[0]
    if kind == "ipv6":
        return address.rpartition(":")[0].removeprefix("%5B").removesuffix("%5D").strip("[]")
    return kind
