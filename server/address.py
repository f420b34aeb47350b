"""Addresses to listen on, as people write them: names, IPv4, and IPv6 with or without brackets."""

import socket
from collections.abc import Callable

from holdfast.errors import HoldfastError

BoundAddress = tuple[socket.AddressFamily, tuple[str | int, ...]]


def joined(host: str, port: int) -> str:
    """host:port, an IPv6 address in the brackets that it needs."""
    bare = host.strip("[]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


def addresses_of(host: str, port: int) -> list[BoundAddress]:
    """Every address of `host`, in the resolver's order. Raises OSError or UnicodeError where there is no such host."""
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses: list[BoundAddress] = [(family, address) for family, _, _, _, address in found]  # type: ignore[misc]
    return list(dict.fromkeys(addresses))


def refuse_taken(bound: BoundAddress) -> None:
    """Raise OSError where anybody listens there or holds it. Connections that linger since a restart are no hindrance."""
    with socket.socket(bound[0], socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind(bound[1])
        trial.listen(1)


def take_port(add: Callable[[str], int], host: str, port: int, flag: str, *, shared: bool = False) -> int:
    """Have gRPC listen there. Returns the port's number.

    Args:
        add: of a server that has not started, such as its `add_insecure_port`.
        host: an address or a name.
        port: 0 takes a free one.
        flag: by which an operator would change it, such as "--port".
        shared: the port is held for this process already.

    Raises:
        HoldfastError: it is taken, the address is none of this machine, or there is no such host.

    """
    try:
        # gRPC's own error is two lines, and does not say why.
        for bound in [] if shared else addresses_of(host, port):
            refuse_taken(bound)
        return add(joined(host, port))
    except (RuntimeError, OSError, UnicodeError) as error:
        raise cannot_listen(host, port, flag, error) from None


def refuse_taken_port(host: str, port: int, flag: str) -> None:
    """Raise HoldfastError where nobody could listen there now. Arguments as those of `take_port`; it is free afterwards."""
    if port:
        take_port(lambda _: port, host, port, flag)


def listen(host: str, port: int, flag: str) -> socket.socket:
    """A socket that listens on the first address of `host`. Arguments as those of `take_port`.

    Raises:
        HoldfastError: as `take_port`.

    """
    try:
        family, address = addresses_of(host, port)[0]
        return socket.create_server((str(address[0]), port), family=family, backlog=64)
    except (OSError, UnicodeError) as error:
        raise cannot_listen(host, port, flag, error) from None


def cannot_listen(host: str, port: int, flag: str, error: Exception) -> HoldfastError:
    """One line for whoever started the server."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return HoldfastError(f"cannot listen on {joined(host, port)} ({flag}): {reason}")
