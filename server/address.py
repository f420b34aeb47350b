"""Addresses to listen on, as people write them: names, IPv4, and IPv6 with or without brackets."""

import socket

from holdfast.errors import HoldfastError


def joined(host: str, port: int) -> str:
    """host:port, an IPv6 address in the brackets that it needs."""
    bare = host.strip("[]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on the first address of `host`; port 0 takes a free one.

    Raises:
        HoldfastError: the port is taken, the address is none of this machine, or there is no such host.

    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(address[:2], family=family, backlog=64)
    except (OSError, UnicodeError) as error:
        raise cannot_listen(host, port, error) from None


def cannot_listen(host: str, port: int, error: Exception) -> HoldfastError:
    """One line for whoever started the server."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return HoldfastError(f"cannot listen on {joined(host, port)}: {reason}")
