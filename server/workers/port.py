"""One port for several processes, and for no other server."""

import socket
from typing import Self

from holdfast.errors import HoldfastError

BoundAddress = tuple[socket.AddressFamily, tuple[str | int, ...]]


class Port:
    """Holds the server's port for its life, without listening: the workers listen there beside it, by SO_REUSEPORT.

    SO_REUSEPORT alone would let a second server in, which would quietly take a share of the connections. So the port is tried
    first; a server that comes later meets a socket that is not its own, and fails in the same way.
    """

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets
        self.number: int = sockets[0].getsockname()[1]

    @classmethod
    def take(cls, host: str, port: int) -> Self:
        """Take it on every address of `host`; 0 is any free one.

        Raises:
            HoldfastError: it is taken, or there is no such host.

        """
        held: list[socket.socket] = []
        try:
            addresses = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, _, _, _, address in dict.fromkeys(addresses):
                # The second address of a host gets the number that the first was given.
                number = held[0].getsockname()[1] if held else port
                bound: BoundAddress = family, (address[0], number, *address[2:])
                _raise_if_taken(bound)
                held.append(_hold(bound))
        except OSError as error:
            for taken in held:
                taken.close()
            raise HoldfastError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
        return cls(held)

    def close(self) -> None:
        """Give it back."""
        for each in self._sockets:
            each.close()


def _raise_if_taken(bound: BoundAddress) -> None:
    """Raise OSError where anybody listens there or holds it. Connections that linger since a restart are no hindrance."""
    with socket.socket(bound[0], socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind(bound[1])
        trial.listen(1)


def _hold(bound: BoundAddress) -> socket.socket:
    """A socket that is bound there. Without SO_REUSEADDR it keeps all but the workers from listening there."""
    family, address = bound
    for options in ([socket.SO_REUSEPORT], [socket.SO_REUSEPORT, socket.SO_REUSEADDR]):
        holder = socket.socket(family, socket.SOCK_STREAM)
        try:
            for option in options:
                holder.setsockopt(socket.SOL_SOCKET, option, 1)
            holder.bind(address)
        except OSError as error:
            # Free, but bound only with SO_REUSEADDR: connections linger of a server that was of another kind.
            holder.close()
            refused = error
        else:
            return holder
    raise refused
