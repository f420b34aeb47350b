"""What an API is: a gRPC service over the core. Each is a module here and one line in table.py."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc.aio

from holdfast.server.core.facade import Core
from holdfast.server.core.request import NO_DEADLINE

if TYPE_CHECKING:
    from grpc.aio import ServicerContext


@dataclass(frozen=True)
class Api:
    """One service.

    Attributes:
        name: "package.Service", as methods begin with it; health, metrics and reflection know the service by it.
        register: adds the service to a server that does not listen yet. Its methods may raise the errors of core.errors:
            they become statuses, calls are counted and timed, and a draining server refuses them.

    """

    name: str
    register: Callable[[grpc.aio.Server, Core], None]


def deadline_of(context: "ServicerContext[Any, Any]") -> float:
    """The caller's deadline on time.monotonic()'s clock."""
    left = context.time_remaining()
    return NO_DEADLINE if left is None else time.monotonic() + left


def caller_of(context: "ServicerContext[Any, Any]") -> str:
    """The peer's address without its port, of "ipv4:10.0.0.7:51234" or "ipv6:%5B::1%5D:51234"; "unix" for a Unix socket."""
    kind, _, address = context.peer().partition(":")
    if kind == "ipv4":
        return address.rpartition(":")[0]
    if kind == "ipv6":
        return address.rpartition(":")[0].removeprefix("%5B").removesuffix("%5D").strip("[]")
    return kind
